//! The certification service: a root, an intermediate below it that issues, and what else a trust service needs.
//!
//! Its folder holds all of it, so that a second start finds the same CA; whoever deletes the folder starts a new one, and every
//! certificate of the old one is worth nothing:
//!
//! | File | Holds |
//! |---|---|
//! | `root.pem`, `intermediate.pem`, `responder-root.pem`, `responder.pem`, `tsa.pem` | certificates |
//! | `root.key`, `intermediate.key`, `responder.key`, `tsa.key` | their keys, PKCS#8 in PEM, not encrypted, mode 0600: it is a sandbox |
//! | `issued.json` | which certificates were issued, and which of them revoked |
//!
//! Subjects follow the Finnish profile ([`PROFILE`]). The responder answers with one key and two certificates, since each CA must name
//! its own delegate [RFC 6960 §4.2.2.2].

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pki::cert::Certificate;
use pki::csr;
use pki::issue::{self, Role, Subject, Template};
use pki::key::{KeyError, KeyKind, PrivateKey};
use pki::name::{COMMON_NAME, COUNTRY, ORGANIZATION};
use pki::ocsp::{CertId, Status};
use pki::profile::{Details, Profile};
use pki::public_key::PublicKey;
use proto::id::{MemberId, ServerId};
use proto::time::UnixTime;
use serde::{Deserialize, Serialize};

/// How subjects name members.
pub const PROFILE: Profile = Profile::FiVrk;
/// Certificates hold from a little before they are issued, for clocks that differ.
const BACKDATE: Duration = Duration::from_secs(3600);
/// Life of a CA certificate.
const CA_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);
/// Life of everything else.
const LIFE: Duration = Duration::from_secs(5 * 365 * 86_400);

/// The CA. All calls block for a little while on the disk.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    root: Identity,
    intermediate: Identity,
    responder: Identity,
    responder_root: Certificate,
    tsa: Identity,
    ocsp_url: String,
    issued: Mutex<Issued>,
}

/// A key with its certificate.
#[derive(Debug)]
pub struct Identity {
    /// The certificate.
    pub cert: Certificate,
    /// Its key.
    pub key: PrivateKey,
}

/// Why the CA cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Disk.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it was written as.
    #[error("{0} cannot be read: delete its folder for a new CA")]
    Damaged(PathBuf),
    /// A key or certificate could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Not a request, not signed by its own key, or with a subject that no profile has.
    #[error("the certificate signing request cannot be read, or its signature does not hold")]
    Request,
    /// This CA did not issue it.
    #[error("the certificate was not issued by this CA")]
    NotOurs,
}

/// `issued.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Issued {
    certificates: Vec<Record>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Position in the list, from [`FIRST_SERIAL`].
    serial: u64,
    subject: String,
    revoked_at: Option<UnixTime>,
}

/// The root has 1, the intermediate 2, and so on; what is issued later counts from here.
const FIRST_SERIAL: u64 = 1000;

impl Authority {
    /// Opens the CA in `dir`, or founds one with keys of `kind`. `ocsp_url` goes into what it issues, unless
    /// it is empty. Founding with RSA keys takes some
    /// seconds.
    ///
    /// # Errors
    /// The disk, or files that are not a CA's.
    pub fn open(dir: &Path, kind: KeyKind, ocsp_url: &str, now: UnixTime) -> Result<Self, AuthorityError> {
        let folder = Folder(dir);
        if !folder.path(ISSUED).exists() {
            found(&folder, kind, now)?;
        }
        let issued = folder.path(ISSUED);
        let bytes = folder.read(ISSUED)?;
        Ok(Self {
            dir: dir.to_owned(),
            root: folder.identity("root")?,
            intermediate: folder.identity("intermediate")?,
            responder: folder.identity("responder")?,
            responder_root: folder.cert("responder-root")?,
            tsa: folder.identity("tsa")?,
            ocsp_url: ocsp_url.to_owned(),
            issued: Mutex::new(serde_json::from_slice(&bytes).map_err(|_| AuthorityError::Damaged(issued))?),
        })
    }

    /// The trust anchor.
    pub fn root(&self) -> &Certificate {
        &self.root.cert
    }
    /// The CA that issues.
    pub fn intermediate(&self) -> &Certificate {
        &self.intermediate.cert
    }
    /// The timestamping service.
    pub fn tsa(&self) -> &Identity {
        &self.tsa
    }
    /// The certificate that answers for certificates of the intermediate.
    pub fn responder(&self) -> &Certificate {
        &self.responder.cert
    }
    /// Where it says to ask about revocation.
    pub fn ocsp_url(&self) -> &str {
        &self.ocsp_url
    }

    /// An authentication certificate of `server` over the key `spki`.
    ///
    /// # Errors
    /// A key of another kind, or the disk.
    pub fn authentication(
        &self,
        server: &ServerId,
        dns_name: &str,
        spki: &[u8],
        now: UnixTime,
    ) -> Result<Certificate, AuthorityError> {
        let details = Details { organisation: &server.owner.code, country: "FI", dns_name };
        let subject = PROFILE.authentication_subject(server, details);
        self.issue(&subject, Role::Authentication, spki, &[dns_name.to_owned()], &[], now)
    }

    /// A signing certificate of `member`, asked for at `server`, over the key `spki`.
    ///
    /// # Errors
    /// A key of another kind, or the disk.
    pub fn signing(
        &self,
        member: &MemberId,
        server: &ServerId,
        spki: &[u8],
        now: UnixTime,
    ) -> Result<Certificate, AuthorityError> {
        let details = Details { organisation: &member.code, country: "FI", dns_name: "" };
        let subject = PROFILE.signing_subject(member, server, details);
        self.issue(&subject, Role::Signing, spki, &[], &[], now)
    }

    /// A TLS certificate of a program for `addresses`.
    ///
    /// # Errors
    /// A key of another kind, or the disk.
    pub fn tls(
        &self,
        common_name: &str,
        addresses: &[IpAddr],
        spki: &[u8],
        now: UnixTime,
    ) -> Result<Certificate, AuthorityError> {
        self.issue(&subject(common_name), Role::Tls, spki, &[], addresses, now)
    }

    /// What a certificate signing request asks for, as an authentication or signing certificate.
    ///
    /// # Errors
    /// Not a request; a key of another kind; the disk.
    pub fn certify(
        &self,
        request: &[u8],
        usage: csr::Usage,
        now: UnixTime,
    ) -> Result<Certificate, AuthorityError> {
        let request = csr::Request::parse(request).ok_or(AuthorityError::Request)?;
        let role = match usage {
            csr::Usage::Authentication => Role::Authentication,
            csr::Usage::Signing => Role::Signing,
        };
        let subject = request.subject.attributes().ok_or(AuthorityError::Request)?;
        self.issue(&subject, role, request.key.spki(), &[], &[], now)
    }

    fn issue(
        &self,
        subject: &Subject,
        role: Role,
        spki: &[u8],
        dns_names: &[String],
        addresses: &[IpAddr],
        now: UnixTime,
    ) -> Result<Certificate, AuthorityError> {
        let key = PublicKey::from_spki(spki).ok_or(KeyError::Kind)?;
        let mut issued = self.issued();
        let serial = FIRST_SERIAL + issued.certificates.len() as u64;
        let integer = serial_bytes(serial);
        let template = Template {
            dns_names,
            addresses,
            ocsp_url: Some(self.ocsp_url.as_str()).filter(|url| !url.is_empty()),
            ..template(subject, role, &integer, now, LIFE)
        };
        let cert = issue::issue(&template, &key, &self.intermediate.cert, &self.intermediate.key)?;
        issued.certificates.push(Record { serial, subject: cert.subject(), revoked_at: None });
        Folder(&self.dir).write_issued(&issued)?;
        Ok(cert)
    }

    /// Revokes a certificate for good.
    ///
    /// # Errors
    /// It is not of this CA; the disk.
    pub fn revoke(&self, cert: &Certificate, now: UnixTime) -> Result<(), AuthorityError> {
        if cert.verify_issued_by(&self.intermediate.cert).is_err() {
            return Err(AuthorityError::NotOurs);
        }
        let mut issued = self.issued();
        let record = issued.find(cert.serial_integer()).ok_or(AuthorityError::NotOurs)?;
        record.revoked_at.get_or_insert(now);
        Folder(&self.dir).write_issued(&issued)
    }

    /// What is known about the certificate that a CertID means, and who says so: the intermediate's delegate about what it issued, the
    /// root's about the intermediate. About anything else the intermediate's delegate says that it is unknown.
    pub(crate) fn status(&self, asked: &CertId) -> (Status, &Certificate, &PrivateKey) {
        let by_root = asked.is_issued_by(&self.root.cert);
        let status = if by_root && asked.serial_integer() == self.intermediate.cert.serial_integer() {
            Status::Good
        } else if asked.is_issued_by(&self.intermediate.cert) {
            match self.issued().find(asked.serial_integer()) {
                Some(Record { revoked_at: None, .. }) => Status::Good,
                Some(_) => Status::Revoked,
                None => Status::Unknown,
            }
        } else {
            Status::Unknown
        };
        let cert = if by_root { &self.responder_root } else { &self.responder.cert };
        (status, cert, &self.responder.key)
    }

    /// The list is whole after every statement.
    fn issued(&self) -> MutexGuard<'_, Issued> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Issued {
    fn find(&mut self, serial: &[u8]) -> Option<&mut Record> {
        self.certificates.iter_mut().find(|record| serial_bytes(record.serial) == serial)
    }
}

const ISSUED: &str = "issued.json";

/// Content of the INTEGER: big-endian, shortest, with a sign byte where it would look negative.
fn serial_bytes(serial: u64) -> Vec<u8> {
    let bytes = serial.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1);
    let significant = &bytes[zeros..];
    if significant[0] & 0x80 == 0 { significant.to_vec() } else { [&[0], significant].concat() }
}

fn subject(common_name: &str) -> Subject {
    vec![
        (COUNTRY, "FI".to_owned()),
        (ORGANIZATION, "Causeway Sandbox".to_owned()),
        (COMMON_NAME, common_name.to_owned()),
    ]
}

fn template<'a>(
    subject: &'a Subject,
    role: Role,
    serial: &'a [u8],
    now: UnixTime,
    life: Duration,
) -> Template<'a> {
    Template {
        subject,
        role,
        serial,
        not_before: now.minus(BACKDATE),
        not_after: now.plus(life),
        dns_names: &[],
        addresses: &[],
        ocsp_url: None,
    }
}

/// Makes the keys and certificates of a new CA; `issued.json` comes last and makes it one.
fn found(folder: &Folder<'_>, kind: KeyKind, now: UnixTime) -> Result<(), AuthorityError> {
    let path = folder.0.to_owned();
    std::fs::create_dir_all(folder.0).map_err(|source| AuthorityError::Io { path, source })?;
    let keys = [(); 4].map(|()| PrivateKey::generate(kind));
    let [root_key, middle_key, responder_key, tsa_key] = keys;
    let (root_key, middle_key, responder_key, tsa_key) = (root_key?, middle_key?, responder_key?, tsa_key?);
    let name = subject("Causeway Sandbox Root CA");
    let root = issue::self_signed(&template(&name, Role::Authority(1), &[1], now, CA_LIFE), &root_key)?;
    let by_root = |name: &str, role, serial: u8, life, key: &PrivateKey| {
        let subject = subject(name);
        issue::issue(&template(&subject, role, &[serial], now, life), key.public_key(), &root, &root_key)
    };
    let middle = by_root("Causeway Sandbox Issuing CA", Role::Authority(0), 2, CA_LIFE, &middle_key)?;
    let responder_root =
        by_root("Causeway Sandbox Root OCSP", Role::OcspResponder, 3, CA_LIFE, &responder_key)?;
    let tsa = by_root("Causeway Sandbox TSA", Role::Timestamping, 4, CA_LIFE, &tsa_key)?;
    let name = subject("Causeway Sandbox OCSP");
    let template = template(&name, Role::OcspResponder, &[1], now, CA_LIFE);
    let responder = issue::issue(&template, responder_key.public_key(), &middle, &middle_key)?;
    for (name, key) in
        [("root", &root_key), ("intermediate", &middle_key), ("responder", &responder_key), ("tsa", &tsa_key)]
    {
        let pem = pki::pem::encode("PRIVATE KEY", &key.to_pkcs8());
        folder.write(&format!("{name}.key"), pem.as_bytes(), 0o600)?;
    }
    for (name, cert) in [
        ("root", &root),
        ("intermediate", &middle),
        ("responder-root", &responder_root),
        ("responder", &responder),
        ("tsa", &tsa),
    ] {
        folder.write(&format!("{name}.pem"), cert.to_pem().as_bytes(), 0o644)?;
    }
    folder.write_issued(&Issued::default())
}

struct Folder<'a>(&'a Path);

impl Folder<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    fn read(&self, name: &str) -> Result<Vec<u8>, AuthorityError> {
        let path = self.path(name);
        std::fs::read(&path).map_err(|source| AuthorityError::Io { path, source })
    }
    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), AuthorityError> {
        let path = self.path(name);
        host::files::write_atomic(&path, bytes, mode).map_err(|source| AuthorityError::Io { path, source })
    }
    fn write_issued(&self, issued: &Issued) -> Result<(), AuthorityError> {
        let json = serde_json::to_vec_pretty(issued).expect("numbers and texts always have a JSON form");
        self.write(ISSUED, &json, 0o644)
    }
    fn cert(&self, name: &str) -> Result<Certificate, AuthorityError> {
        let name = format!("{name}.pem");
        Certificate::parse(&self.read(&name)?).map_err(|_| AuthorityError::Damaged(self.path(&name)))
    }
    fn identity(&self, name: &str) -> Result<Identity, AuthorityError> {
        let file = format!("{name}.key");
        let key = PrivateKey::from_pem(&self.read(&file)?)
            .map_err(|_| AuthorityError::Damaged(self.path(&file)))?;
        Ok(Identity { cert: self.cert(name)?, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_790_000_000);

    fn open(dir: &Path) -> Authority {
        Authority::open(dir, KeyKind::P256, "http://127.0.0.1:1/ocsp", NOW).unwrap()
    }
    fn member() -> MemberId {
        MemberId::new("DEMO", "MUN", "2001")
    }
    fn spki() -> Vec<u8> {
        PrivateKey::generate(KeyKind::P256).unwrap().spki()
    }

    #[test]
    fn a_second_start_finds_the_same_ca() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path());
        let server = ServerId { owner: member(), code: "ss".into() };
        let cert = first.signing(&member(), &server, &spki(), NOW).unwrap();
        let second = open(dir.path());
        assert_eq!((first.root(), first.tsa().cert.der()), (second.root(), second.tsa().cert.der()));
        let next = second.signing(&member(), &server, &spki(), NOW).unwrap();
        assert_eq!((cert.serial_decimal(), next.serial_decimal()), ("1000".into(), "1001".into()));
        second.revoke(&cert, NOW).unwrap();
        assert!(second.revoke(second.root(), NOW).is_err());
        drop(second);
        let third = open(dir.path());
        let revoked: Vec<_> = third.issued().certificates.iter().map(|record| record.revoked_at).collect();
        assert_eq!(revoked, [Some(NOW), None]);
    }

    #[test]
    fn certificates_say_what_they_are_for_and_whose() {
        let dir = tempfile::tempdir().unwrap();
        let ca = open(dir.path());
        let server = ServerId { owner: member(), code: "ss".into() };
        let signing = ca.signing(&member(), &server, &spki(), NOW).unwrap();
        assert_eq!(PROFILE.member(&signing, "DEMO"), Ok(member()));
        assert!(signing.is_signing());
        let auth = ca.authentication(&server, "ss.test", &spki(), NOW).unwrap();
        assert_eq!((auth.is_authentication(), auth.dns_names()), (Ok(true), &["ss.test".to_owned()][..]));
        let tls = ca.tls("register", &["127.0.0.1".parse().unwrap()], &spki(), NOW).unwrap();
        for cert in [&signing, &auth, &tls] {
            let path = pki::chain::build(cert, &[ca.intermediate().clone()], ca.root(), NOW).unwrap();
            assert_eq!(path.certs.len(), 2);
            assert_eq!(cert.ocsp_urls(), ["http://127.0.0.1:1/ocsp"]);
        }
    }

    #[test]
    fn a_request_keeps_its_subject() {
        let dir = tempfile::tempdir().unwrap();
        let ca = open(dir.path());
        let key = PrivateKey::generate(KeyKind::P384).unwrap();
        let server = ServerId { owner: member(), code: "ss".into() };
        let details = Details { organisation: "Rannala", country: "FI", dns_name: "" };
        let subject = PROFILE.signing_subject(&member(), &server, details);
        let request = csr::request(&key, csr::Usage::Signing, &subject, &[]).unwrap();
        let cert = ca.certify(&request, csr::Usage::Signing, NOW).unwrap();
        assert_eq!(
            (cert.subject_der(), cert.spki()),
            (csr::Request::parse(&request).unwrap().subject.der(), &key.spki()[..])
        );
        assert!(matches!(ca.certify(b"", csr::Usage::Signing, NOW), Err(AuthorityError::Request)));
    }

    #[test]
    fn serials_are_shortest_integers() {
        let cases: [(u64, &[u8]); 4] = [(0, &[0]), (127, &[127]), (128, &[0, 128]), (1000, &[3, 232])];
        for (serial, expected) in cases {
            assert_eq!(serial_bytes(serial), expected);
        }
    }
}
