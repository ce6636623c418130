//! Identifiers as operators write them: `COM:4321:TEST` gets the instance of the server added, what names a known instance stays.

use super::session::Session;
use crate::exit::Usage;

/// What an identifier is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Member,
    Subsystem,
    /// A member or a subsystem.
    Client,
    Server,
}

impl Shape {
    /// Parts without the instance.
    const fn parts(self) -> &'static [usize] {
        match self {
            Self::Member => &[2],
            Self::Subsystem | Self::Server => &[3],
            Self::Client => &[2, 3],
        }
    }
    const fn example(self) -> &'static str {
        match self {
            Self::Member => "a member is written COM:4321",
            Self::Subsystem => "a subsystem is written COM:4321:TEST",
            Self::Client => "a client is written COM:4321 or COM:4321:TEST",
            Self::Server => "a security server is written COM:4321:SS1",
        }
    }
}

/// The whole identifier.
///
/// # Errors
/// The wrong number of parts; the instance cannot be found out.
pub(crate) fn complete(session: &Session, text: &str, shape: Shape) -> anyhow::Result<String> {
    with_instance(text, shape, || Ok(session.instances()?.to_vec()))
}

/// The whole identifier, where the instances are known.
///
/// # Errors
/// As [`complete`].
pub(crate) fn with_instance(
    text: &str,
    shape: Shape,
    instances: impl FnOnce() -> anyhow::Result<Vec<String>>,
) -> anyhow::Result<String> {
    let text = text.replace('/', ":");
    let parts: Vec<&str> = text.split(':').collect();
    let wrong = || Usage(format!("{text}: {}, with or without the instance before it", shape.example()));
    if parts.iter().any(|part| part.is_empty()) {
        return Err(wrong().into());
    }
    let count = parts.len();
    let short = shape.parts().contains(&count);
    let long = count > 0 && shape.parts().contains(&(count - 1));
    match (short, long) {
        (false, false) => Err(wrong().into()),
        (false, true) => Ok(text),
        (true, false) => Ok(format!("{}:{text}", own(&instances()?)?)),
        // Three parts are a subsystem, or a member with its instance.
        (true, true) => {
            let known = instances()?;
            if known.iter().any(|instance| instance == parts[0]) {
                return Ok(text);
            }
            Ok(format!("{}:{text}", own(&known)?))
        }
    }
}

fn own(instances: &[String]) -> anyhow::Result<&String> {
    instances
        .first()
        .ok_or_else(|| Usage("the server has no instance yet; write identifiers whole".into()).into())
}

/// Class, code and the third part of an identifier that is whole.
pub(crate) fn parts(id: &str) -> (String, String, Option<String>) {
    let mut parts = id.splitn(4, ':').skip(1).map(str::to_owned);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_is_added_where_it_is_missing() {
        let known = || Ok(vec!["DEV".to_owned(), "EE".to_owned()]);
        for (text, shape, whole) in [
            ("COM:1", Shape::Member, Some("DEV:COM:1")),
            ("DEV:COM:1", Shape::Member, Some("DEV:COM:1")),
            ("COM:1:T", Shape::Client, Some("DEV:COM:1:T")),
            ("EE:COM:1", Shape::Client, Some("EE:COM:1")),
            ("COM/1/T", Shape::Subsystem, Some("DEV:COM:1:T")),
            ("EE:COM:1:T", Shape::Client, Some("EE:COM:1:T")),
            ("COM", Shape::Member, None),
            ("COM::1", Shape::Member, None),
            ("DEV:COM:1:T:x", Shape::Client, None),
        ] {
            let found = with_instance(text, shape, known);
            assert_eq!(found.as_deref().ok(), whole, "{text} {found:?}");
        }
        assert_eq!(parts("DEV:COM:1"), ("COM".into(), "1".into(), None));
        assert_eq!(parts("DEV:COM:1:T").2.as_deref(), Some("T"));
    }
}
