//! Who is who in the sandbox: one instance, two cities, the services of one and the rights of the other.
//!
//! | Identifier | Who |
//! |---|---|
//! | `DEMO/MUN/2001/school` | the school office of Rannala, which asks |
//! | `DEMO/MUN/1001/population` | the population register of Metsola, which answers |
//! | `DEMO/MUN/2001/ss-rannala`, `DEMO/MUN/1001/ss-metsola` | their security servers |
//! | `DEMO/ORG/1/management` | the operator of the instance |

use proto::id::{ClientId, MemberId, ServerId, ServiceId};

/// The X-Road instance.
pub const INSTANCE: &str = "DEMO";
/// Member class of the cities.
pub const CITIES: &str = "MUN";
/// Member class of the operator.
pub const OPERATORS: &str = "ORG";
/// Code of the REST service that the OpenAPI document describes.
pub const REGISTER: &str = "register";
/// Code and version of the SOAP service.
pub const RESIDENT_DETAILS: (&str, &str) = ("residentDetails", "v1");
/// Code of the REST service for tests and benches.
pub const PROBE: &str = "probe";
/// A global group: offices that may use the probe.
pub const TESTERS: &str = "testers";

/// The city of Rannala.
pub fn rannala() -> MemberId {
    MemberId::new(INSTANCE, CITIES, "2001")
}

/// The city of Metsola.
pub fn metsola() -> MemberId {
    MemberId::new(INSTANCE, CITIES, "1001")
}

/// The operator of the instance.
pub fn operator() -> MemberId {
    MemberId::new(INSTANCE, OPERATORS, "1")
}

/// The school office of Rannala: the consumer.
pub fn school() -> ClientId {
    rannala().subsystem("school")
}

/// The population register of Metsola: the provider.
pub fn population() -> ClientId {
    metsola().subsystem("population")
}

/// Rannala's security server.
pub fn consumer_server() -> ServerId {
    ServerId { owner: rannala(), code: "ss-rannala".into() }
}

/// Metsola's security server.
pub fn provider_server() -> ServerId {
    ServerId { owner: metsola(), code: "ss-metsola".into() }
}

/// The register over REST.
pub fn register() -> ServiceId {
    population().service(REGISTER)
}

/// The register over SOAP.
pub fn resident_details() -> ServiceId {
    ServiceId { version: Some(RESIDENT_DETAILS.1.into()), ..population().service(RESIDENT_DETAILS.0) }
}

/// The probe.
pub fn probe() -> ServiceId {
    population().service(PROBE)
}

/// The subsystem that would offer the management services.
pub fn management() -> ClientId {
    operator().subsystem("management")
}
