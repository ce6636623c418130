//! Management requests of security servers: the registration service on port 4001 and the management service on 4002.
//!
//! | Module | Holds |
//! |---|---|
//! | this | [`ManagementService`]: bytes in, SOAP answer or fault out |
//! | [`judge`] | what a request must fulfil before the registry is asked; pure |
//! | [`trust`] | which certificates of security servers and members count |
//! | [`listener`] | HTTP and TLS of both ports |
//! | [`wsdl`] | the description that the management security server reads |
//!
//! Registrations come from anybody and prove themselves by two signatures. The rest comes through the security server that offers the
//! management services: it has verified the message that carried the request, so port 4002 answers nobody who does not show that
//! server's certificate, unless it is bound to this machine alone.
//!
//! What the registry refuses reaches the sender as `internal_error` with the code and status of the management API.

pub mod judge;
pub mod listener;
pub mod tls;
pub mod trust;
pub mod wsdl;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use host::clock::Clock;
use pki::globalconf::{Builder, GlobalConf, Instance};
use proto::fault::{Fault, FaultCode, Style};
use proto::globalconf::MAX_VERSION;
use proto::management;

use crate::config::AutoApprove;
use crate::configuration_source::documents::{Incomplete, Shared};
use crate::registry::{Command, Refusal, Registry, RegistryError, State, Submission};
use judge::Refused;

/// Who is recorded as having asked.
const ACTOR: &str = "management-service";

/// Which of the two services a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Port 4001: registrations of authentication certificates.
    Registration,
    /// Port 4002: everything else.
    Management,
}

/// Both services over one registry.
pub struct ManagementService {
    registry: Arc<Registry>,
    clock: Clock,
    auto_approve: AutoApprove,
    /// The configuration as of a revision of the registry.
    conf: Mutex<Option<(u64, Arc<GlobalConf>)>>,
}

/// A SOAP document and its HTTP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// 200 or 500.
    pub status: u16,
    /// The document.
    pub body: Vec<u8>,
}

impl ManagementService {
    /// Over this registry.
    pub fn new(registry: Arc<Registry>, clock: Clock, auto_approve: AutoApprove) -> Self {
        Self { registry, clock, auto_approve, conf: Mutex::new(None) }
    }

    /// Answers one request. Blocks: signatures are verified and the registry writes.
    pub fn answer(&self, service: Service, content_type: &str, body: &Bytes) -> Answered {
        match self.carry_out(service, content_type, body) {
            Ok(body) => Answered { status: 200, body },
            Err(refused) => {
                let detail = uuid::Uuid::new_v4().simple().to_string()[..16].to_owned();
                tracing::info!(
                    ?service,
                    code = refused.code.text(Style::Snake),
                    reason = refused.message,
                    detail,
                    "a management request was refused"
                );
                let fault = Fault {
                    code: refused.code.text(Style::Snake).to_owned(),
                    message: refused.message,
                    actor: String::new(),
                    detail,
                };
                Answered { status: 500, body: fault.to_soap() }
            }
        }
    }

    fn carry_out(&self, service: Service, content_type: &str, body: &Bytes) -> Result<Vec<u8>, Refused> {
        let state = self.registry.state();
        let conf = self.conf(&state)?;
        let judged = judge::judge(service, &state, &conf, content_type, body, self.clock.now())?;
        let id = match judged.kind {
            None => 0,
            Some(kind) => {
                let automatic = self.auto_approve.covers(&kind);
                let submission = Submission {
                    kind,
                    origin: crate::registry::Origin::SecurityServer,
                    server: judged.server,
                    comments: None,
                    automatic,
                    approved: false,
                };
                let command = Command::SubmitRequest(Box::new(submission));
                let state = self.registry.execute_for_state(ACTOR, command).map_err(refused_by_registry)?;
                state.numbers.request
            }
        };
        management::answer(&judged.soap, id).map_err(|error| Refused::invalid(error.to_string()))
    }

    /// The configuration that the registry stands for now, made anew when something changed in it.
    fn conf(&self, state: &State) -> Result<Arc<GlobalConf>, Refused> {
        let mut held = self.conf.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((revision, conf)) = &*held
            && *revision == state.content_revision
        {
            return Ok(Arc::clone(conf));
        }
        let outdated = |reason: String| Refused { code: FaultCode::GlobalConfOutdated, message: reason };
        let mut xml = Vec::new();
        let mut take = |text: &str| {
            xml.extend_from_slice(text.as_bytes());
            Ok::<_, Incomplete>(())
        };
        let written = Shared::of(state).and_then(|mut shared| shared.write(MAX_VERSION, &mut take));
        written.map_err(|e| outdated(e.to_string()))?;
        let instance = Instance::read(&xml, MAX_VERSION).map_err(|e| outdated(e.to_string()))?;
        let name = instance.name().to_owned();
        let built = Builder::new(&name).instance(Arc::new(instance), None).build();
        let conf = Arc::new(built.map_err(|e| outdated(e.to_string()))?);
        *held = Some((state.content_revision, Arc::clone(&conf)));
        Ok(conf)
    }
}

fn refused_by_registry(error: RegistryError) -> Refused {
    let message = match &error {
        RegistryError::Refused(Refusal::Request(refusal)) => {
            let (status, code) = refusal.code();
            format!("{code} with statusCode {status}")
        }
        RegistryError::Refused(refusal) => {
            let problem = crate::admin_api::problems::of_refusal(refusal);
            format!("{} with statusCode {}", problem.code.unwrap_or_default(), problem.status)
        }
        other => {
            tracing::error!(error = %other, "a management request could not be recorded");
            "internal_error with statusCode 500".to_owned()
        }
    };
    Refused { code: FaultCode::InternalError, message }
}
