//! Clients of this server: members and subsystems.

use super::Rows;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![]
}
