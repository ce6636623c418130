//! Certificates of the token's keys: import, activation, deletion.

use super::Rows;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![]
}
