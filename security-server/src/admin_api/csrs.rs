//! Certificate signing requests: by certificate profile, made anew at each download.

use super::Rows;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![]
}
