//! TLS certificates of clients' information systems.

use super::Rows;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![]
}
