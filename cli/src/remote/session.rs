//! What a verb works with: the connection, the flags that every verb has, and what was learnt about the server on the way.

use std::cell::OnceCell;
use std::time::{Duration, Instant};

use anyhow::Context;
use http::Method;
use serde_json::{Value, json};

use super::connection::{Answer, Body, Call, Connection};
use super::failure::{Failure, told};
use super::output::{Column, Format, field};
use super::secrets;
use super::targets::{Kind, Targets};
use crate::exit::Usage;

/// Flags of every verb.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Flags {
    /// Name of the target; `causeway target list` shows them.
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) format: Format,
    /// Accept whatever the server warns of, and questions of ours.
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Accept this warning of the server, by its code; may be repeated.
    #[arg(long, global = true, value_name = "CODE")]
    pub(crate) accept: Vec<String>,
    /// Write method, path, status and correlation id of every call to standard error.
    #[arg(long, global = true)]
    pub(crate) trace: bool,
    /// Seconds that one call may take.
    #[arg(
        long = "call-timeout",
        id = "call-timeout",
        global = true,
        value_name = "SECONDS",
        default_value_t = 60
    )]
    pub(crate) timeout: u64,
}

impl Flags {
    /// As if none were written.
    pub(crate) fn quiet(timeout: u64) -> Self {
        let format = Format { quiet: true, ..Format::default() };
        Self { target: None, format, yes: false, accept: Vec::new(), trace: false, timeout }
    }
}

/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) flags: Flags,
    pub(crate) kind: Kind,
    instances: OnceCell<Vec<String>>,
}

impl Session {
    /// The target that is meant, and its credential.
    ///
    /// # Errors
    /// No target, or files of it that cannot be used.
    pub(crate) fn open(flags: &Flags, kind: Kind) -> anyhow::Result<Self> {
        let target = Targets::load()?.choose(flags.target.as_deref(), Some(kind))?;
        let credential = target.credential()?;
        let timeout = Duration::from_secs(flags.timeout.max(1));
        let connection = Connection::new(&target, credential, timeout, flags.trace)?;
        Ok(Self { connection, flags: flags.clone(), kind, instances: OnceCell::new() })
    }

    /// Name of the target.
    pub(crate) fn name(&self) -> &str {
        &self.connection.target().name
    }

    /// A call whose warnings are shown, and accepted by flags or by the operator.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) fn send(&self, call: &Call) -> anyhow::Result<Answer> {
        match self.try_send(call) {
            Err(failure) if !failure.warnings().is_empty() && self.accepts(&failure)? => {
                Ok(self.try_send(&ignoring_warnings(call))?)
            }
            other => Ok(other?),
        }
    }

    /// A call whose warnings are a refusal.
    pub(crate) fn try_send(&self, call: &Call) -> Result<Answer, Failure> {
        let answer = self.connection.call(call)?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        let words = format!("{} {}", call.method, call.path);
        Err(Failure::of(&answer, words, self.name(), self.connection.has_credential()))
    }

    fn accepts(&self, failure: &Failure) -> anyhow::Result<bool> {
        let warnings = failure.warnings();
        for warning in warnings {
            eprintln!("warning: {}", told(warning));
        }
        if self.flags.yes || warnings.iter().all(|warning| self.flags.accept.contains(&warning.code)) {
            return Ok(true);
        }
        secrets::agrees("go on all the same?")
    }

    /// The body of an answer.
    pub(crate) fn call(&self, call: &Call) -> anyhow::Result<Value> {
        self.send(call)?.json()
    }

    /// GET.
    pub(crate) fn get(&self, path: impl Into<String>) -> anyhow::Result<Value> {
        self.call(&Call::get(path))
    }

    /// GET of a list; an empty one when it is not there.
    pub(crate) fn list(&self, path: impl Into<String>) -> anyhow::Result<Vec<Value>> {
        match self.get(path)? {
            Value::Array(items) => Ok(items),
            other => anyhow::bail!("a list was expected: {other}"),
        }
    }

    /// A verb with a JSON body.
    pub(crate) fn with_json(
        &self,
        method: Method,
        path: impl Into<String>,
        body: Value,
    ) -> anyhow::Result<Value> {
        self.call(&Call::new(method, path).json(body))
    }

    /// All pages of a paged list, as one body.
    pub(crate) fn all_pages(&self, call: &Call, list: &str) -> anyhow::Result<Value> {
        const PER_PAGE: usize = 200;
        let page = |number: usize| {
            let call = call.clone().query("limit", PER_PAGE.to_string()).query("offset", number.to_string());
            self.call(&call)
        };
        let mut body = page(0)?;
        let total = body["paging_metadata"]["total_items"].as_u64().unwrap_or(0);
        let mut number = 1;
        while (number * PER_PAGE) as u64 <= total.saturating_sub(1) {
            let mut next = page(number)?;
            let more = next[list].as_array_mut().map(std::mem::take).unwrap_or_default();
            if more.is_empty() {
                break;
            }
            body[list].as_array_mut().context("a page has no list")?.extend(more);
            number += 1;
        }
        let count = body[list].as_array().map_or(0, Vec::len);
        if number > 1 {
            body["paging_metadata"]["items"] = json!(count);
            body["paging_metadata"]["limit"] = json!(count);
        }
        Ok(body)
    }

    /// Instances that the server knows, its own first.
    pub(crate) fn instances(&self) -> anyhow::Result<&[String]> {
        if let Some(known) = self.instances.get() {
            return Ok(known);
        }
        let found = match self.kind {
            Kind::CentralServer => {
                let status = self.get("/initialization/status")?;
                vec![field(&status, "instance_identifier")]
            }
            Kind::SecurityServer => {
                let mut list = self.list("/xroad-instances")?;
                list.sort_by_key(|instance| instance["local"] != json!(true));
                // Older servers give plain texts.
                list.iter()
                    .map(|instance| match instance {
                        Value::String(text) => text.clone(),
                        other => field(other, "identifier"),
                    })
                    .collect()
            }
        };
        let found: Vec<String> = found.into_iter().filter(|instance| !instance.is_empty()).collect();
        if found.is_empty() {
            return Err(Usage(format!("{} has no instance yet; write identifiers whole", self.name())).into());
        }
        Ok(self.instances.get_or_init(|| found))
    }

    /// Looks until `wanted` stands in a field, and says what it waits for.
    ///
    /// # Errors
    /// [`Failure::WaitTimedOut`]; a look that is refused.
    pub(crate) fn wait(
        &self,
        path: &str,
        name: &str,
        wanted: &str,
        limit: Duration,
    ) -> anyhow::Result<Value> {
        self.wait_until(&format!("{name} of {path}"), limit, || {
            let body = self.get(path)?;
            let now = field(&body, name);
            Ok((now == wanted, now, body))
        })
    }

    /// Looks until `look` says so; it gives whether, what it saw, and what to give back.
    pub(crate) fn wait_until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut() -> anyhow::Result<(bool, String, T)>,
    ) -> anyhow::Result<T> {
        let began = now();
        let mut shown = None;
        loop {
            let (done, last, body) = look()?;
            if done {
                return Ok(body);
            }
            if began.elapsed() >= limit {
                return Err(Failure::WaitTimedOut { what: what.to_owned(), last, after: limit }.into());
            }
            if shown.as_ref() != Some(&last) && !self.flags.format.quiet {
                eprintln!("waiting for {what} (now {last})");
                shown = Some(last);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Prints a body.
    pub(crate) fn print(&self, body: &Value, list: &str, columns: &[Column]) -> anyhow::Result<()> {
        super::output::print(&self.flags.format, body, list, columns)
    }
}

/// The clock of waits.
fn now() -> Instant {
    Instant::now()
}

/// The same call, with what it warned of accepted: in the body where there is a JSON one, else in the query.
fn ignoring_warnings(call: &Call) -> Call {
    let mut call = call.clone();
    let in_query = matches!(call.method, Method::DELETE) || !matches!(call.body, Body::Json(_) | Body::None);
    match &mut call.body {
        Body::Json(Value::Object(fields)) if !in_query => {
            fields.insert("ignore_warnings".into(), Value::Bool(true));
        }
        Body::None if !in_query => call.body = Body::Json(json!({ "ignore_warnings": true })),
        _ => call.query.push(("ignore_warnings".into(), "true".into())),
    }
    call
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_accepted_where_the_api_looks() {
        let body = ignoring_warnings(&Call::new(Method::POST, "/clients").json(json!({ "client": {} })));
        assert!(matches!(&body.body, Body::Json(body) if body["ignore_warnings"] == json!(true)));
        let empty = ignoring_warnings(&Call::new(Method::PUT, "/service-descriptions/1/refresh"));
        assert!(matches!(&empty.body, Body::Json(body) if body["ignore_warnings"] == json!(true)));
        let query = ignoring_warnings(&Call::new(Method::DELETE, "/keys/1"));
        assert_eq!(query.query, [("ignore_warnings".to_owned(), "true".to_owned())]);
    }
}
