//! Clients and local groups.
