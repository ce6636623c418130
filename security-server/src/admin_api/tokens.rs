//! The token: shown, renamed, logged in and out, its PIN.

use super::Rows;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![]
}
