//! Reading signature documents, and putting a timestamp into one.
//!
//! Order of what is read: the whole document (ids), SignedInfo, the certificate, SignedProperties, the unsigned properties. The
//! unsigned ones prove themselves or nothing: certificates and OCSP answers are judged by the trust check, a timestamp by its token.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::time::UnixTime;
use proto::xml;
use roxmltree::Node;

use super::{
    Document, MAX_BYTES, MAX_EXTRA, MAX_NAMESPACE_BYTES, MAX_REFERENCES, SIGNED_PROPERTIES_TYPE,
    SignatureError, XADES,
};
use crate::algorithm::SignatureAlgorithm;
use crate::c14n::{self, Method};
use crate::cert::{CertError, Certificate};
use crate::digest::DigestValue;
use crate::strict::{self, DS, Elements};

/// Limits of the XML gate; the shapes in the field are 14 deep.
const LIMITS: xml::Limits =
    xml::Limits { bytes: MAX_BYTES, depth: 32, attributes: 32, namespaces: 32, elements: 10_000 };

/// Makes a certificate of its DER.
pub type ReadCert<'a> = &'a dyn Fn(&[u8]) -> Result<Certificate, CertError>;

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// [`SignatureError::Xml`], [`SignatureError::Malformed`], [`SignatureError::TooManyReferences`].
    pub fn parse(xml: &[u8]) -> Result<Self, SignatureError> {
        Self::parse_with(xml, &Certificate::parse)
    }

    /// [`Self::parse`] with certificates read by `read_cert`, which may know them already.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_with(xml: &[u8], read_cert: ReadCert<'_>) -> Result<Self, SignatureError> {
        let tree = xml::tree(xml, &LIMITS)?;
        check_ids(tree.root_element())?;
        check_namespaces(tree.root_element())?;
        let mut children = Elements::of(find_signature(tree.root_element())?, "Signature")?;
        let info = children.required(DS, "SignedInfo")?;
        let value = children.required(DS, "SignatureValue")?;
        let key_info = children.required(DS, "KeyInfo")?;
        let object = children.required(DS, "Object")?;
        children.end()?;

        let signed = SignedInfo::read(info)?;
        let signing = read_key_info(key_info, read_cert)?;
        let mut qualifying = qualifying_properties(object)?;
        let properties = qualifying.required(XADES, "SignedProperties")?;
        let unsigned = qualifying.optional(XADES, "UnsignedProperties");
        qualifying.end()?;
        let (signing_time, names_certificate) = read_properties(properties, &signing)?;
        let unsigned = Unsigned::read(unsigned, read_cert)?;
        Ok(Self {
            algorithm: signed.algorithm,
            signed_info: c14n::canonicalize(info, &signed.method),
            value: strict::base64(value, "SignatureValue")?,
            properties_match: signed.properties.matches(properties)?,
            names_certificate,
            references: signed.references,
            signing,
            extra: unsigned.extra,
            ocsp: unsigned.ocsp,
            signing_time,
            timestamp: unsigned.timestamp,
        })
    }
}

fn malformed(why: &str) -> SignatureError {
    SignatureError::Malformed(why.to_owned())
}

/// Every id stands once in the whole document, in whatever spelling a reader may look for it.
fn check_ids(root: Node<'_, '_>) -> Result<(), SignatureError> {
    let mut seen = HashSet::new();
    let attributes = root.descendants().flat_map(|node| node.attributes());
    for id in attributes.filter(|attribute| attribute.name().eq_ignore_ascii_case("id")) {
        if !seen.insert(id.value()) {
            return Err(malformed("an id stands twice"));
        }
    }
    Ok(())
}

/// No namespace name is longer than [`MAX_NAMESPACE_BYTES`].
fn check_namespaces(root: Node<'_, '_>) -> Result<(), SignatureError> {
    let mut names = root.descendants().filter(Node::is_element).flat_map(|node| node.namespaces());
    match names.any(|namespace| namespace.uri().len() > MAX_NAMESPACE_BYTES) {
        true => Err(malformed("a namespace name is too long")),
        false => Ok(()),
    }
}

/// The document's one signature: its root, or the only element in its root.
fn find_signature<'a, 'input>(root: Node<'a, 'input>) -> Result<Node<'a, 'input>, SignatureError> {
    if strict::is(root, DS, "Signature") {
        return Ok(root);
    }
    let mut children = Elements::of(root, "the root")?;
    let signature = children.required(DS, "Signature")?;
    children.end()?;
    Ok(signature)
}

struct SignedInfo {
    method: Method,
    algorithm: SignatureAlgorithm,
    references: Vec<(String, DigestValue)>,
    properties: PropertiesReference,
}

/// The reference to the SignedProperties.
struct PropertiesReference {
    id: String,
    method: Method,
    digest: DigestValue,
}

impl PropertiesReference {
    fn matches(&self, properties: Node<'_, '_>) -> Result<bool, SignatureError> {
        if strict::attribute(properties, "Id") != Some(&self.id) {
            return Err(malformed("SignedInfo does not refer to the SignedProperties"));
        }
        Ok(self.digest.algorithm.digest(&c14n::canonicalize(properties, &self.method)) == self.digest)
    }
}

impl SignedInfo {
    fn read(info: Node<'_, '_>) -> Result<Self, SignatureError> {
        let mut children = Elements::of(info, "SignedInfo")?;
        let method = strict::canonicalization(
            children.required(DS, "CanonicalizationMethod")?,
            "CanonicalizationMethod",
        )?
        .ok_or_else(|| malformed("the canonicalisation is not one that is accepted"))?;
        let algorithm = read_signature_method(children.required(DS, "SignatureMethod")?)?;
        let mut references: Vec<(String, DigestValue)> = Vec::new();
        let mut properties = None;
        let mut count = 0;
        while let Some(node) = children.optional(DS, "Reference") {
            count += 1;
            if count > MAX_REFERENCES {
                return Err(SignatureError::TooManyReferences);
            }
            match Reference::read(node)? {
                Reference::Properties(reference) => {
                    if properties.replace(reference).is_some() {
                        return Err(malformed("the SignedProperties are referred to twice"));
                    }
                }
                Reference::Part(uri, digest) => {
                    if references.iter().any(|(known, _)| *known == uri) {
                        return Err(malformed("a part is referred to twice"));
                    }
                    references.push((uri, digest));
                }
            }
        }
        children.end()?;
        let properties =
            properties.ok_or_else(|| malformed("SignedInfo does not refer to the SignedProperties"))?;
        Ok(Self { method, algorithm, references, properties })
    }
}

fn read_signature_method(node: Node<'_, '_>) -> Result<SignatureAlgorithm, SignatureError> {
    strict::only_attributes(node, "SignatureMethod", &["Algorithm"])?;
    Elements::of(node, "SignatureMethod")?.end()?;
    SignatureAlgorithm::from_uri(strict::required_attribute(node, "SignatureMethod", "Algorithm")?)
        .ok_or_else(|| malformed("the signature algorithm is not one that is accepted"))
}

enum Reference {
    Properties(PropertiesReference),
    Part(String, DigestValue),
}

impl Reference {
    fn read(node: Node<'_, '_>) -> Result<Self, SignatureError> {
        strict::only_attributes(node, "Reference", &["Id", "URI", "Type"])?;
        let uri = strict::required_attribute(node, "Reference", "URI")?;
        let kind = strict::attribute(node, "Type");
        let mut children = Elements::of(node, "Reference")?;
        let transforms = children.optional(DS, "Transforms");
        let algorithm = strict::digest_method(children.required(DS, "DigestMethod")?)?;
        let value = strict::base64(children.required(DS, "DigestValue")?, "DigestValue")?;
        children.end()?;
        let digest = DigestValue { algorithm, value };
        match (kind, uri.strip_prefix('#')) {
            (Some(SIGNED_PROPERTIES_TYPE), Some(id)) => {
                let method = transforms.map_or(Ok(Method::Inclusive), read_canonical_transform)?;
                Ok(Self::Properties(PropertiesReference { id: id.to_owned(), method, digest }))
            }
            // An empty URI would be the whole document.
            (None, None) if uri.is_empty() => Err(malformed("a reference is to the document itself")),
            (None, None) if transforms.is_none() => Ok(Self::Part(uri.to_owned(), digest)),
            (None, None) => Err(malformed("a reference to a part has a transform")),
            (Some(_), _) | (None, Some(_)) => {
                Err(malformed("a reference is neither to a part nor to the SignedProperties"))
            }
        }
    }
}

fn read_canonical_transform(transforms: Node<'_, '_>) -> Result<Method, SignatureError> {
    let mut children = Elements::of(transforms, "Transforms")?;
    let only = children.required(DS, "Transform")?;
    children.end()?;
    strict::canonicalization(only, "Transform")?
        .ok_or_else(|| malformed("the SignedProperties have a transform other than canonicalisation"))
}

/// The first certificate is the one that signed; others beside it say nothing.
fn read_key_info(key_info: Node<'_, '_>, read_cert: ReadCert<'_>) -> Result<Certificate, SignatureError> {
    let mut data = Elements::of(Elements::of(key_info, "KeyInfo")?.required(DS, "X509Data")?, "X509Data")?;
    while let Some(node) = data.any() {
        if strict::is(node, DS, "X509Certificate") {
            return certificate(node, "X509Certificate", read_cert);
        }
    }
    Err(malformed("there is no signing certificate"))
}

fn certificate(
    node: Node<'_, '_>,
    name: &'static str,
    read_cert: ReadCert<'_>,
) -> Result<Certificate, SignatureError> {
    read_cert(&strict::base64(node, name)?).map_err(|error| SignatureError::Malformed(error.to_string()))
}

fn qualifying_properties<'a, 'input>(
    object: Node<'a, 'input>,
) -> Result<Elements<'a, 'input>, SignatureError> {
    let mut children = Elements::of(object, "Object")?;
    let qualifying = children.required(XADES, "QualifyingProperties")?;
    children.end()?;
    Ok(Elements::of(qualifying, "QualifyingProperties")?)
}

/// The time of signing, and whether the digest of the certificate that is signed is that of `signing`, which itself is not signed.
fn read_properties(
    properties: Node<'_, '_>,
    signing: &Certificate,
) -> Result<(Option<UnixTime>, bool), SignatureError> {
    let signature_properties = only_child(properties, "SignedSignatureProperties")?
        .ok_or_else(|| malformed("there are no SignedSignatureProperties"))?;
    let time = match only_child(signature_properties, "SigningTime")? {
        None => None,
        Some(node) => Some(
            read_time(strict::text(node, "SigningTime")?)
                .ok_or_else(|| malformed("the SigningTime is not a time"))?,
        ),
    };
    let v1 = only_child(signature_properties, "SigningCertificate")?;
    let v2 = only_child(signature_properties, "SigningCertificateV2")?;
    let ((Some(list), None) | (None, Some(list))) = (v1, v2) else {
        return Err(malformed("the signing certificate is not named by the SignedProperties"));
    };
    let named = Elements::of(list, "SigningCertificate")?.required(XADES, "Cert")?;
    Ok((time, has_digest(signing, named)?))
}

/// A date-time; one without an offset is read as UTC.
fn read_time(text: &str) -> Option<UnixTime> {
    let text = text.trim_ascii();
    UnixTime::from_iso8601(text).or_else(|| UnixTime::from_iso8601(&format!("{text}Z")))
}

/// `cert` has the `xades:CertDigest`, which comes first in a `Cert`.
fn has_digest(cert: &Certificate, named: Node<'_, '_>) -> Result<bool, SignatureError> {
    let digest = Elements::of(named, "Cert")?.required(XADES, "CertDigest")?;
    let mut children = Elements::of(digest, "CertDigest")?;
    let algorithm = strict::digest_method(children.required(DS, "DigestMethod")?)?;
    let value = strict::base64(children.required(DS, "DigestValue")?, "DigestValue")?;
    children.end()?;
    Ok(cert.digest(algorithm) == value)
}

/// The child with this name in the XAdES namespace, which may stand once.
fn only_child<'a, 'input>(
    parent: Node<'a, 'input>,
    name: &str,
) -> Result<Option<Node<'a, 'input>>, SignatureError> {
    let mut found = parent.children().filter(|node| strict::is(*node, XADES, name));
    let first = found.next();
    if found.next().is_some() { Err(malformed("a property stands twice")) } else { Ok(first) }
}

#[derive(Default)]
struct Unsigned {
    extra: Vec<Certificate>,
    ocsp: Vec<Vec<u8>>,
    timestamp: Option<Vec<u8>>,
}

impl Unsigned {
    fn read(node: Option<Node<'_, '_>>, read_cert: ReadCert<'_>) -> Result<Self, SignatureError> {
        let node = node.map(|node| only_child(node, "UnsignedSignatureProperties")).transpose()?.flatten();
        let node = node.ok_or_else(|| malformed("there are no UnsignedSignatureProperties"))?;
        let ocsp = read_ocsp(node)?;
        Ok(Self { extra: read_extra(node, read_cert)?, ocsp, timestamp: read_timestamp(node) })
    }
}

fn read_ocsp(properties: Node<'_, '_>) -> Result<Vec<Vec<u8>>, SignatureError> {
    let mut responses = Vec::new();
    if let Some(values) = only_child(properties, "RevocationValues")?
        && let Some(values) = only_child(values, "OCSPValues")?
    {
        let mut children = Elements::of(values, "OCSPValues")?;
        while let Some(node) = children.optional(XADES, "EncapsulatedOCSPValue") {
            responses.push(strict::base64(node, "EncapsulatedOCSPValue")?);
        }
        children.end()?;
    }
    if responses.is_empty() { Err(malformed("there is no OCSP response")) } else { Ok(responses) }
}

/// The certificates that `CompleteCertificateRefs` lists, each with the digest it gives them.
fn read_extra(properties: Node<'_, '_>, read_cert: ReadCert<'_>) -> Result<Vec<Certificate>, SignatureError> {
    let Some(references) = only_child(properties, "CompleteCertificateRefs")? else { return Ok(Vec::new()) };
    let Some(references) = only_child(references, "CertRefs")? else { return Ok(Vec::new()) };
    let mut children = Elements::of(references, "CertRefs")?;
    let mut extra = Vec::new();
    while let Some(reference) = children.optional(XADES, "Cert") {
        if extra.len() >= MAX_EXTRA {
            return Err(malformed("it carries too many certificates"));
        }
        let uri = strict::required_attribute(reference, "Cert", "URI")?;
        let id = uri.strip_prefix('#').unwrap_or(uri);
        let node = properties
            .descendants()
            .filter(|node| strict::is(*node, XADES, "EncapsulatedX509Certificate"))
            .find(|node| strict::attribute(*node, "Id") == Some(id))
            .ok_or_else(|| malformed("a certificate that is referred to is not there"))?;
        let cert = certificate(node, "EncapsulatedX509Certificate", read_cert)?;
        if !has_digest(&cert, reference)? {
            return Err(malformed("a certificate does not have the digest that is given for it"));
        }
        extra.push(cert);
    }
    children.end()?;
    Ok(extra)
}

/// The first timestamp. A peer may send any rubbish here, since it is neither signed nor used between servers: reading does not fail.
fn read_timestamp(properties: Node<'_, '_>) -> Option<Vec<u8>> {
    let stamp = properties.children().find(|node| strict::is(*node, XADES, "SignatureTimeStamp"))?;
    // Old releases put the token straight into the outer element.
    let inner =
        stamp.children().find(|node| strict::is(*node, XADES, "EncapsulatedTimeStamp")).unwrap_or(stamp);
    Some(strict::base64(inner, "EncapsulatedTimeStamp").unwrap_or_default())
}

/// `xml` with the token of a single-record timestamp put first into `xades:UnsignedSignatureProperties`.
///
/// Every other byte stays, so that the signature stays valid and nothing is written again.
///
/// # Errors
/// [`SignatureError::Xml`], [`SignatureError::Malformed`].
pub fn with_timestamp(xml: &[u8], token_der: &[u8]) -> Result<Vec<u8>, SignatureError> {
    let tree = xml::tree(xml, &LIMITS)?;
    let mut found = tree.descendants().filter(|node| strict::is(*node, XADES, "UnsignedSignatureProperties"));
    let (Some(properties), None) = (found.next(), found.next()) else {
        return Err(malformed("there is not exactly one place for a timestamp"));
    };
    // Readers look for these elements by prefix, so it must be this one.
    let first = properties
        .first_element_child()
        .filter(|_| properties.lookup_namespace_uri(Some("xades")) == Some(XADES))
        .ok_or_else(|| malformed("the place for a timestamp cannot hold one"))?;
    let place = first.range().start;
    let token = STANDARD.encode(token_der);
    let pieces: [&[u8]; 5] = [
        &xml[..place],
        b"<xades:SignatureTimeStamp><xades:EncapsulatedTimeStamp>",
        token.as_bytes(),
        b"</xades:EncapsulatedTimeStamp></xades:SignatureTimeStamp>",
        &xml[place..],
    ];
    Ok(pieces.concat())
}
