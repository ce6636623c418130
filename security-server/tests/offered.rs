//! The management API over what a server offers and to whom: clients, descriptions, services, endpoints, rights, local groups. Each
//! question of theirs that needs no user interface is a test here.

#![allow(clippy::unwrap_used, reason = "a test: its panic is the report")]

#[path = "offered/clients.rs"]
mod clients;
#[path = "offered/groups.rs"]
mod groups;
#[path = "offered/random.rs"]
mod random;
#[path = "offered/recorded.rs"]
mod recorded;
#[path = "offered/rights.rs"]
mod rights;
#[path = "offered/scene.rs"]
mod scene;
#[path = "offered/services.rs"]
mod services;
#[path = "offered/sweep.rs"]
mod sweep;
