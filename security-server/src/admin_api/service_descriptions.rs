//! Service descriptions: WSDL, OpenAPI documents, REST base paths.

use super::Rows;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![]
}
