//! Operations that send a management request to the central server.

use super::Rows;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![]
}
