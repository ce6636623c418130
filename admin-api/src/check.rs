//! Validation of fields: which rules a value breaks, under the names that scripts know.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::lenient::Text;
use crate::problem::Problem;

/// A rule on a text.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What it is called in `validation_errors`.
    pub name: &'static str,
    /// Whether a text keeps it.
    pub holds: fn(&str) -> bool,
}

/// Not empty, at most 255 characters.
pub const SIZE: Rule = Rule { name: "Size", holds: |text| (1..=255).contains(&text.chars().count()) };
/// At most 255 characters.
pub const MAX_SIZE: Rule = Rule { name: "Size", holds: |text| text.chars().count() <= 255 };
/// No control characters.
pub const NO_CONTROL_CHARS: Rule =
    Rule { name: "NoControlChars", holds: |text| !text.chars().any(is_control_or_invisible) };
/// Letters, digits and `'()+,-.=?`.
pub const IDENTIFIER_CHARS: Rule =
    Rule { name: "IdentifierChars", holds: |text| text.is_empty() || proto::id::is_strict_code(text) };
/// What descriptions may hold.
pub const DESCRIPTION: Rule = Rule {
    name: "Pattern",
    holds: |text| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_,.;:!? ".contains(c)),
};
/// A host name or an address.
pub const HOST_ADDRESS: Rule = Rule { name: "ValidHostAddress", holds: is_host_address };
/// A host name or an address, with a port where it is not the usual one.
pub const HOST_AND_PORT: Rule = Rule {
    name: "ValidHostAddress",
    holds: |text| {
        is_host_address(text)
            || text.rsplit_once(':').is_some_and(|(host, port)| {
                let plain = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
                plain && is_host_address(host) && port.parse::<u16>().is_ok_and(|port| port > 0)
            })
    },
};
/// The characters of host names and addresses.
pub const ADDRESS_CHARS: Rule = Rule {
    name: "OnlyAddressChars",
    holds: |text| text.chars().all(|c| c.is_alphanumeric() || ".-:[]".contains(c)),
};

fn is_control_or_invisible(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}' | '\u{feff}')
}

/// A host name (internationalised too) or an IP address.
pub fn is_host_address(text: &str) -> bool {
    if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return true;
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    // Digits and dots alone would be an address, and this one is none.
    let numeric = text.chars().all(|c| c.is_ascii_digit() || c == '.') && text.contains('.');
    !numeric && text.len() <= 253 && text.trim_end_matches('.').split('.').all(label)
}

/// Collects what is wrong with the fields of one object.
#[derive(Debug)]
pub struct Check {
    object: &'static str,
    errors: BTreeMap<String, Vec<String>>,
}

impl Check {
    /// Of an object with this name, such as `memberClassDto`.
    pub fn new(object: &'static str) -> Self {
        Self { object, errors: BTreeMap::new() }
    }

    /// A field that must be there; empty when it is not, and [`Self::done`] then refuses.
    pub fn required(&mut self, field: &str, value: Option<Text>, rules: &[Rule]) -> String {
        match self.optional(field, value, rules) {
            Some(value) => value,
            None => {
                self.fail(field, "NotNull");
                String::new()
            }
        }
    }

    /// A field that may be there.
    pub fn optional(&mut self, field: &str, value: Option<Text>, rules: &[Rule]) -> Option<String> {
        let value = value?.0;
        for rule in rules.iter().filter(|rule| !(rule.holds)(&value)) {
            self.fail(field, rule.name);
        }
        Some(value)
    }

    /// A field that must be there, of any type.
    pub fn present<T>(&mut self, field: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.fail(field, "NotNull");
        }
        value
    }

    /// A field breaks a rule.
    pub fn fail(&mut self, field: &str, rule: &str) {
        self.errors.entry(format!("{}.{field}", self.object)).or_default().push(rule.to_owned());
    }

    /// Refuses when anything was wrong.
    ///
    /// # Errors
    /// 400 `validation_failure` with all of it.
    pub fn done(self) -> Result<(), Problem> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::validation(self.errors)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_broken_rule_is_named() {
        let mut check = Check::new("initialServerConfDto");
        check.required("instanceIdentifier", Some("DE V".into()), &[IDENTIFIER_CHARS, SIZE]);
        check.required("centralServerAddress", Some("no such host!".into()), &[ADDRESS_CHARS, HOST_ADDRESS]);
        check.required("softwareTokenPin", None, &[]);
        let problem = check.done().unwrap_err();
        let expected = [
            ("initialServerConfDto.centralServerAddress", vec!["OnlyAddressChars", "ValidHostAddress"]),
            ("initialServerConfDto.instanceIdentifier", vec!["IdentifierChars"]),
            ("initialServerConfDto.softwareTokenPin", vec!["NotNull"]),
        ];
        let found: Vec<_> = problem.validation_errors.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        assert_eq!(found, expected.map(|(k, v)| (k, v.iter().map(|s| s.to_string()).collect())));
    }

    #[test]
    fn hosts_with_ports() {
        let cases = [
            ("cs", true),
            ("cs:8080", true),
            ("[::1]:8080", true),
            ("::1", true),
            ("cs:0", false),
            ("cs:70000", false),
            ("cs:port", false),
            (":80", false),
            ("no host:80", false),
        ];
        for (text, expected) in cases {
            assert_eq!((HOST_AND_PORT.holds)(text), expected, "{text}");
        }
    }

    #[test]
    fn host_addresses() {
        let cases = [
            ("cs", true),
            ("ss1.example.org", true),
            ("192.168.1.100", true),
            ("::1", true),
            ("jõgi.ee", true),
            ("no such host!", false),
            ("", false),
            ("999.1.1.1", false),
            ("-a.b", false),
            ("http://x", false),
            ("a..b", false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_host_address(text), expected, "{text}");
        }
    }
}
