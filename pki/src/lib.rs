//! Can it be trusted? Pure functions over bytes, certificates and a given time: no sockets, no files, no clock.
//!
//! | Question | Module | Standard |
//! |---|---|---|
//! | which digest, which algorithm | [`digest`], [`algorithm`], [`mac`] | XML-DSig URIs, RFC 5754, RFC 2104 |
//! | what a certificate says, whom it names | [`cert`], [`name`], [`public_key`], [`profile`], [`csr`], [`pem`] | RFC 5280 §4, RFC 2986 |
//! | is the path sound | [`chain`] | RFC 5280 §6 |
//! | is it revoked | [`ocsp`] | RFC 6960 |
//! | when did it exist | [`tsp`] | RFC 3161 |
//! | which keys exist and sign, what certificates we make | [`key`], [`issue`] | PKCS#1, PKCS#8 |
//! | is the signature document sound | [`xades`], [`c14n`], [`hash_chain`] | TS 101 903, C14N 1.0, [BATCH-TS] |
//! | does this signature prove this message of this member | [`message_signature`] | all of the above |
//! | is the container evidence | [`asic`] | TS 102 918 |
//! | is the archive file one link of its chain | [`archive`] | UG-SS |
//! | how files of ready entries are put together | [`pack`] | APPNOTE 6.3 |
//! | who may read an archive file, who wrote it | [`openpgp`] | RFC 9580 |
//! | is the log the one it was | [`merkle`], [`note`] | RFC 9162 §2.1, C2SP signed-note |
//! | who is who | [`globalconf`] | [PR-GCONF] |
//! | may this certificate speak for that client | [`trust`] | PR-MESSTRANSP |

pub mod algorithm;
pub mod archive;
pub mod asic;
mod asn1;
pub mod c14n;
pub mod cert;
pub mod chain;
pub mod csr;
pub mod digest;
pub mod globalconf;
pub mod hash_chain;
pub mod issue;
pub mod key;
pub mod mac;
pub mod merkle;
pub mod message_signature;
pub mod name;
pub mod note;
pub mod ocsp;
pub mod openpgp;
pub mod pack;
pub mod pem;
mod pkcs12;
pub mod profile;
pub mod public_key;
mod strict;
#[cfg(test)]
mod test_pki;
pub mod trust;
pub mod tsp;
pub mod xades;
