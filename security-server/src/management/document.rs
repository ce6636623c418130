//! A management request as bytes: the SOAP document, and for most kinds the parts that prove it [PR-MSERV].
//!
//! | Parts | Kinds |
//! |---|---|
//! | the document alone | `authCertDeletion`, `clientDeletion` |
//! | document, signature, signing certificate, its OCSP answer | all others |
//! | document, signatures of both keys, authentication certificate, signing certificate, its OCSP answer | `authCertReg` |
//!
//! Every signature is over the bytes of the document. Not here: whose keys, and where the bytes go.

use bytes::Bytes;
use pki::algorithm::{EcdsaForm, Scheme, SignatureAlgorithm};
use pki::cert::Certificate;
use pki::digest::DigestAlgorithm;
use pki::public_key::KeyType;
use proto::id::ClientId;
use proto::management::{self, DOCUMENT, ManagementRequest, OCTETS, Part, Way};
use signer::{KeyId, Purpose, Signer, SignerError, SigningIdentity};

/// A request as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// `Content-Type`.
    pub content_type: String,
    /// Everything.
    pub body: Bytes,
    /// The document in it: what the answer is compared with.
    pub soap: Bytes,
}

/// What only differs from one request to the next.
#[derive(Clone, Debug)]
pub struct Marks {
    /// Message id.
    pub id: String,
    /// Between the parts.
    pub boundary: String,
}

/// An authentication certificate that is to be registered, with its key.
#[derive(Clone, Debug)]
pub struct AuthCert {
    /// Its key in the token.
    pub key: KeyId,
    /// The certificate.
    pub cert: Certificate,
}

/// The document alone.
pub fn plain(asked: &ManagementRequest, provider: &ClientId, marks: &Marks) -> Document {
    let soap = Bytes::from(management::write(asked, provider, &marks.id));
    Document { content_type: DOCUMENT.to_owned(), body: soap.clone(), soap }
}

/// With the signature of `identity`.
///
/// # Errors
/// The token does not sign.
pub async fn signed(
    signer: &dyn Signer,
    asked: &ManagementRequest,
    provider: &ClientId,
    marks: &Marks,
    identity: &SigningIdentity,
) -> Result<Document, SignerError> {
    let soap = Bytes::from(management::write(asked, provider, &marks.id));
    let [certificate, ocsp] = proof(identity);
    let parts =
        [document(&soap), sign(signer, identity_key(identity), soap.clone()).await?, certificate, ocsp];
    Ok(assemble(Way::Message, marks, soap, &parts))
}

/// With the signatures of the key that is to be registered and of the server's owner.
///
/// # Errors
/// The token does not sign, or not with such a key.
pub async fn registration(
    signer: &dyn Signer,
    asked: &ManagementRequest,
    provider: &ClientId,
    marks: &Marks,
    auth: &AuthCert,
    owner: &SigningIdentity,
) -> Result<Document, SignerError> {
    let soap = Bytes::from(management::write(asked, provider, &marks.id));
    let algorithm = algorithm(&auth.cert)
        .ok_or_else(|| SignerError::Failed("the certificate has a key of an unknown kind".to_owned()))?;
    let possession = Key { id: &auth.key, purpose: Purpose::Registration, algorithm };
    let [certificate, ocsp] = proof(owner);
    let parts = [
        document(&soap),
        sign(signer, possession, soap.clone()).await?,
        sign(signer, identity_key(owner), soap.clone()).await?,
        octets(auth.cert.der()),
        certificate,
        ocsp,
    ];
    Ok(assemble(Way::Direct, marks, soap, &parts))
}

/// The document as a registration without any proof: a question whether the registration service is there.
pub fn question(asked: &ManagementRequest, provider: &ClientId, marks: &Marks) -> Document {
    let soap = Bytes::from(management::write(asked, provider, &marks.id));
    let parts = [document(&soap)];
    assemble(Way::Direct, marks, soap, &parts)
}

/// What a key of this kind signs with, by default of the reference (SHA-512).
fn algorithm(cert: &Certificate) -> Option<SignatureAlgorithm> {
    let scheme = match cert.public_key().key_type()? {
        KeyType::Rsa(_) => Scheme::RsaPkcs1,
        KeyType::Ec(_) => Scheme::Ecdsa,
    };
    Some(SignatureAlgorithm { scheme, digest: DigestAlgorithm::Sha512 })
}

struct Key<'a> {
    id: &'a KeyId,
    purpose: Purpose,
    algorithm: SignatureAlgorithm,
}

fn identity_key(identity: &SigningIdentity) -> Key<'_> {
    Key { id: &identity.key, purpose: Purpose::ManagementRequest, algorithm: identity.algorithm }
}

async fn sign(signer: &dyn Signer, key: Key<'_>, soap: Bytes) -> Result<Part, SignerError> {
    let value = signer.sign(key.id, key.purpose, key.algorithm, EcdsaForm::Der, soap).await?;
    Ok(Part { algorithm: Some(key.algorithm.jca_name().to_owned()), ..octets(&value) })
}

fn document(soap: &Bytes) -> Part {
    Part { content_type: DOCUMENT.to_owned(), algorithm: None, bytes: soap.clone() }
}

fn octets(bytes: &[u8]) -> Part {
    Part { content_type: OCTETS.to_owned(), algorithm: None, bytes: Bytes::copy_from_slice(bytes) }
}

/// The certificate and what its responder says of it.
fn proof(identity: &SigningIdentity) -> [Part; 2] {
    let ocsp = identity.ocsp.first().cloned().unwrap_or_default();
    [octets(identity.cert.der()), octets(&ocsp)]
}

fn assemble(way: Way, marks: &Marks, soap: Bytes, parts: &[Part]) -> Document {
    let (content_type, body) = management::write_parts(way, &marks.boundary, parts);
    Document { content_type, body: body.into(), soap }
}

#[cfg(test)]
mod tests;
