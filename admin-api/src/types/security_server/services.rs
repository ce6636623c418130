//! Service descriptions, services, endpoints, access rights.
