//! The `SOAPAction` header: absent, empty, two quotes, or a URI in quotes [SOAP 1.1 §6.1.1].
use super::SoapError;

/// Holds a `SOAPAction` value against the rule.
///
/// # Errors
/// [`SoapError::Action`].
pub fn check_soap_action(value: Option<&str>) -> Result<(), SoapError> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(()) };
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if quoted.is_some_and(is_uri_reference) { Ok(()) } else { Err(SoapError::Action) }
}

/// A URI as the reference's platform reads it: text beyond ASCII may stand as it is.
fn is_uri_reference(text: &str) -> bool {
    let bytes = text.as_bytes();
    let clean = |(at, byte): (usize, &u8)| match byte {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
        b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b' ' | 0x7f => false,
        byte => *byte > b' ',
    };
    let scheme = text.find([':', '/', '?', '#']).filter(|at| bytes[*at] == b':');
    let good_scheme = scheme.is_none_or(|at| {
        let name = &bytes[..at];
        let letters = name.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
        name.first().is_some_and(u8::is_ascii_alphabetic) && letters && at + 1 < bytes.len()
    });
    good_scheme && bytes.iter().enumerate().all(clean)
}
