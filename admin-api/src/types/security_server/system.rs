//! The server itself: initialisation, anchor, version, TLS, timestamping, diagnostics, backups.
