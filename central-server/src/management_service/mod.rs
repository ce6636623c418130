//! Management requests of security servers: the registration service on port 4001 and the management service on 4002.
//!
//! | Module | Holds |
//! |---|---|
//! | [`trust`] | which certificates of security servers and members count |

pub mod trust;
