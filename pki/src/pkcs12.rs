//! PKCS#12 files: the first key and every certificate [RFC 7292].
//!
//! The `p12-keystore` crate opens them, old ciphers included, but reads DER only. Some Java libraries write BER with indefinite
//! lengths and strings in pieces; such a file is rewritten first. Its MAC, made over the BER, is lost with that, so a wrong password
//! then shows itself by what decryption yields.

use der::asn1::Any;
use der::{Decode, Encode, Tag, TagNumber};
use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error;
use zeroize::Zeroizing;

use crate::asn1;
use crate::key::KeyError;

/// PKCS#8 of the first key, and DER of all certificates in their order.
pub(crate) type Contents = (Zeroizing<Vec<u8>>, Vec<Vec<u8>>);

/// Opens a file.
pub(crate) fn open(file: &[u8], password: &str) -> Result<Contents, KeyError> {
    // The second byte is the length of the outermost value; DER knows no indefinite one.
    let der = if file.get(1) == Some(&INDEFINITE) { to_der(file) } else { None };
    let archive = Pkcs12Archive::from_pkcs12(der.as_deref().unwrap_or(file), password).map_err(refusal)?;
    let key = archive.keys.first().ok_or(KeyError::Malformed)?;
    let certs = archive.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect();
    Ok((Zeroizing::new(key.key.as_der().to_vec()), certs))
}

const INDEFINITE: u8 = 0x80;

/// What decryption yields under a wrong password has bad padding, or is no ASN.1.
fn refusal(error: Error) -> KeyError {
    match error {
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => KeyError::Password,
        _ => KeyError::Malformed,
    }
}

/// `PFX` without its MAC, all lengths definite, down to the encrypted parts (which are DER inside).
fn to_der(file: &[u8]) -> Option<Vec<u8>> {
    let outer = inner(&Any::from_der(&asn1::definite(file)?).ok()?)?;
    let [version, auth_safe, ..] = outer.as_slice() else { return None };
    let safe = rewritten(auth_safe, |octets| {
        let parts = inner(&Any::from_der(&asn1::definite(octets)?).ok()?)?;
        let parts: Vec<u8> = parts.iter().map(part).collect::<Option<Vec<_>>>()?.concat();
        asn1::tlv(Tag::Sequence, &parts).ok()
    })?;
    asn1::tlv(Tag::Sequence, &[version.to_der().ok()?, safe].concat()).ok()
}

/// One ContentInfo of the AuthenticatedSafe: bags in an OCTET STRING, or encrypted ones.
fn part(content_info: &Any) -> Option<Vec<u8>> {
    let parts = inner(content_info)?;
    let [kind, content] = parts.as_slice() else { return None };
    let [data] = &inner(content)?[..] else { return None };
    if data.header().tag() == Tag::OctetString {
        return rewritten(content_info, asn1::definite);
    }
    // EncryptedData { version, EncryptedContentInfo { type, algorithm, [0] IMPLICIT OCTET STRING } }
    let encrypted = inner(data)?;
    let [version, info] = encrypted.as_slice() else { return None };
    let info = inner(info)?;
    let [content_type, algorithm, octets] = info.as_slice() else { return None };
    let pieces = inner(octets)?;
    let whole = pieces.iter().map(Any::value).collect::<Vec<_>>().concat();
    let whole = asn1::tlv(Tag::ContextSpecific { constructed: false, number: TagNumber(0) }, &whole).ok()?;
    let info = [content_type.to_der().ok()?, algorithm.to_der().ok()?, whole].concat();
    let data = [version.to_der().ok()?, asn1::tlv(Tag::Sequence, &info).ok()?].concat();
    let content = asn1::tlv(content.header().tag(), &asn1::tlv(Tag::Sequence, &data).ok()?).ok()?;
    asn1::tlv(Tag::Sequence, &[kind.to_der().ok()?, content].concat()).ok()
}

/// ContentInfo { type, [0] OCTET STRING } with what `change` makes of the string.
fn rewritten(content_info: &Any, change: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let parts = inner(content_info)?;
    let [kind, content] = parts.as_slice() else { return None };
    let [octets] = &inner(content)?[..] else { return None };
    let octets = asn1::tlv(Tag::OctetString, &change(octets.value())?).ok()?;
    let content = asn1::tlv(content.header().tag(), &octets).ok()?;
    asn1::tlv(Tag::Sequence, &[kind.to_der().ok()?, content].concat()).ok()
}

fn inner(value: &Any) -> Option<Vec<Any>> {
    asn1::elements(value.value()).ok()
}
