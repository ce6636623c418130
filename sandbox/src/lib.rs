//! A whole exchange on one machine: trust services, sample services, and an ecosystem built in one call.
//!
//! `causeway demo`, the scenario tests, the benches and newcomers all use this one; nothing in production does. What it plays is real
//! all the same: certificates, OCSP answers and timestamps are made and checked as anywhere else, only the authority is ours.
//!
//! | Module | Holds |
//! |---|---|
//! | [`authority`], [`ocsp_responder`], [`tsa`] | a CA with its OCSP responder and its timestamping service, over HTTP |
//! | [`trust_service`] | what those two services have in common |
//! | [`loopback`] | addresses 127.x.y.z, claimed so that parallel processes never share one |
//! | [`http`] | the small HTTP server under the trust and sample services |
//! | [`parties`] | who is who: two cities, their servers, services and rights |
//! | [`information_system`] | the consumer's program: calls, `curl` lines, containers |
//! | [`ecosystem`] | all of it, built in a folder or taken up again, in one call |
//! | [`admin`] | management APIs as a script uses them |
//! | [`child`] | servers as child processes: ready when they say so, dead when the parent is |
//! | [`services`] | what the provider offers: the population register of one city over REST and SOAP, and a probe |

pub mod admin;
pub mod authority;
pub mod child;
pub mod ecosystem;
pub mod http;
pub mod information_system;
pub mod loopback;
pub mod ocsp_responder;
pub mod parties;
pub mod services;
pub mod trust_service;
pub mod tsa;
