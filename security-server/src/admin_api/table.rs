//! The one table of the security server's operations, gathered from the modules. Audit events are those of the
//! reference's list.

use super::*;

/// All rows.
pub fn operations() -> Rows {
    let parts = [
        initialization::rows,
        anchor::rows,
        system::rows,
        internal_tls::rows,
        timestamping::rows,
        trust::rows,
        tokens::rows,
        keys::rows,
        csrs::rows,
        token_certificates::rows,
        diagnostics::rows,
        connections::rows,
        report::rows,
        backups::rows,
        clients::rows,
        client_certificates::rows,
        local_groups::rows,
        service_descriptions::rows,
        services::rows,
        endpoints::rows,
        access_rights::rows,
        management::rows,
    ];
    parts.iter().flat_map(|rows| rows()).collect()
}
