//! Endpoints of REST services.

use super::Rows;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![]
}
