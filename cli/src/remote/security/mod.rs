//! `causeway ss`: nouns and verbs of a security server.
//!
//! | File | Nouns |
//! |---|---|
//! | [`server`] | the server itself, its anchor, TLS, timestamping, diagnostics |
//! | [`keys`] | tokens, keys, signing requests, certificates |
//! | [`clients`] | clients, their TLS certificates, local groups |
//! | [`services`] | services, endpoints, access rights |

pub(crate) mod clients;
pub(crate) mod keys;
pub(crate) mod server;
pub(crate) mod services;

use super::accounts;
use super::verb::Noun;

/// The table.
pub(crate) fn nouns() -> Vec<Noun> {
    let mut nouns = server::nouns();
    nouns.extend(keys::nouns());
    nouns.extend(clients::nouns());
    nouns.extend(services::nouns());
    nouns.push(accounts::noun_());
    nouns
}
