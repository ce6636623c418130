//! Initialisation: owner, server code, token; in one call or in several [admin dossier §1.8, Initialization].

use super::Rows;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![]
}
