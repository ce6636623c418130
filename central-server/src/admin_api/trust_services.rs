//! Certification services with intermediates and OCSP responders, and timestamping services.

use std::net::IpAddr;

use admin_api::form::{CERTIFICATE, Form};
use admin_api::types::central_server::{
    CertificateAuthority, CertificationService as Shown, CertificationServiceListItem,
    CertificationServiceSettings, OcspResponder, TimestampingService,
};
use admin_api::types::certificate::CertificateDetails;
use admin_api::types::date;
use admin_api::{Answer, Call, Problem};
use bytes::Bytes;
use pki::cert::Certificate;
use pki::profile::Profile;
use proto::globalconf::shared_parameters::CostType;
use proto::time::UnixTime;

use super::Api;
use crate::registry::event::{CaProfile, Responder, Tsa};
use crate::registry::state::{Ca, CertificationService};
use crate::registry::{Acme, CaSettings, Command, State};

const NO_SERVICE: &str = "certification_service_not_found";
const NO_INTERMEDIATE: &str = "intermediate_ca_not_found";
const NO_RESPONDER: &str = "ocsp_responder_not_found";
const NO_TSA: &str = "timestamping_authority_not_found";

fn parsed(der: &[u8]) -> Result<Certificate, Problem> {
    Certificate::parse(der)
        .map_err(|error| Problem::bad_request("invalid_certificate").because(error.to_string()))
}

fn seconds(at: UnixTime) -> String {
    date(UnixTime::from_secs(at.as_secs()))
}

/// The service in the path.
fn service_of<'a>(state: &'a State, call: &Call) -> Result<&'a CertificationService, Problem> {
    let number = call.path_number("certification_service_id", NO_SERVICE)?;
    state.cas.iter().find(|service| service.top.number == number).ok_or_else(|| Problem::missing(NO_SERVICE))
}

/// The intermediate CA in the path, with its service.
fn intermediate_of<'a>(state: &'a State, call: &Call) -> Result<(&'a CertificationService, &'a Ca), Problem> {
    let number = call.path_number("intermediate_ca_id", NO_INTERMEDIATE)?;
    let all = state.cas.iter().flat_map(|service| service.intermediates.iter().map(move |ca| (service, ca)));
    let mut all = all.filter(|(_, ca)| ca.number == number);
    all.next().ok_or_else(|| Problem::missing(NO_INTERMEDIATE))
}

fn shown(service: &CertificationService) -> Result<Shown, Problem> {
    let cert = parsed(&service.top.cert.0)?;
    let details = CertificateDetails::from(&cert);
    let CaProfile { name, authentication_only, profile, default_csr_format, acme } = service.settings.clone();
    let acme = acme.unwrap_or_default();
    Ok(Shown {
        id: service.top.number,
        name,
        issuer_distinguished_name: details.issuer_distinguished_name,
        subject_distinguished_name: details.subject_distinguished_name,
        not_after: seconds(cert.not_after()),
        not_before: seconds(cert.not_before()),
        certificate_profile_info: profile,
        tls_auth: authentication_only,
        default_csr_format,
        acme_server_directory_url: Some(acme.directory_url).filter(|url| !url.is_empty()),
        acme_server_ip_address: acme.ip_address,
        authentication_certificate_profile_id: acme.authentication_profile,
        signing_certificate_profile_id: acme.signing_profile,
    })
}

pub(super) fn services(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let item = |service: &CertificationService| {
        let cert = parsed(&service.top.cert.0)?;
        Ok(CertificationServiceListItem {
            id: service.top.number,
            name: service.settings.name.clone(),
            not_after: seconds(cert.not_after()),
            not_before: seconds(cert.not_before()),
        })
    };
    Answer::ok(&state.cas.iter().map(item).collect::<Result<Vec<_>, Problem>>()?)
}

/// What a form or a body says about a service, before it is judged.
#[derive(Default)]
struct Said {
    profile: Option<String>,
    tls_auth: Option<bool>,
    format: Option<String>,
    acme_url: Option<String>,
    acme_ip: Option<String>,
    auth_profile: Option<String>,
    sign_profile: Option<String>,
}

impl Said {
    fn in_form(form: &Form) -> Result<Self, Problem> {
        let tls_auth = form.text("tls_auth").map(|text| {
            admin_api::lenient::flag(&text)
                .ok_or_else(|| Problem::malformed("tls_auth is neither true nor false"))
        });
        Ok(Self {
            profile: form.text("certificate_profile_info"),
            tls_auth: tls_auth.transpose()?,
            format: form.text("default_csr_format"),
            acme_url: form.text("acme_server_directory_url"),
            acme_ip: form.text("acme_server_ip_address"),
            auth_profile: form.text("authentication_certificate_profile_id"),
            sign_profile: form.text("signing_certificate_profile_id"),
        })
    }

    fn in_body(body: CertificationServiceSettings) -> Self {
        let text = |text: Option<admin_api::lenient::Text>| text.map(|text| text.0);
        Self {
            profile: text(body.certificate_profile_info).filter(|text| !text.is_empty()),
            // The reference's tools send all kinds of things here; what is no truth value is false.
            tls_auth: body.tls_auth.map(|text| admin_api::lenient::flag(&text).unwrap_or(false)),
            format: text(body.default_csr_format).filter(|text| !text.is_empty()),
            acme_url: text(body.acme_server_directory_url),
            acme_ip: text(body.acme_server_ip_address),
            auth_profile: text(body.authentication_certificate_profile_id),
            sign_profile: text(body.signing_certificate_profile_id),
        }
    }

    fn check(&self) -> Result<(), Problem> {
        if let Some(format) = &self.format
            && !["PEM", "DER"].contains(&format.as_str())
        {
            return Err(Problem::malformed("default_csr_format is neither PEM nor DER"));
        }
        if let Some(profile) = &self.profile
            && Profile::from_class_name(profile).is_none()
        {
            return Err(Problem::bad_request("certificate_profile_info_class_not_found").with(profile));
        }
        if let Some(url) = self.acme_url.as_ref().filter(|url| !url.is_empty()) {
            check_url(url)?;
        }
        let addresses = self.acme_ip.iter().flat_map(|list| list.split(',')).map(str::trim);
        let wrong = |address: &&str| !address.is_empty() && address.parse::<IpAddr>().is_err();
        match addresses.into_iter().find(wrong) {
            Some(_) => Err(Problem::bad_request("invalid_ip_address")),
            None => Ok(()),
        }
    }

    /// Over what is there already.
    fn over(self, present: CaProfile) -> CaSettings {
        let acme = present.acme.unwrap_or_default();
        let chosen = |new: Option<String>, old: Option<String>| new.or(old).filter(|text| !text.is_empty());
        let acme = Acme {
            directory_url: self.acme_url.unwrap_or(acme.directory_url),
            ip_address: chosen(self.acme_ip, acme.ip_address),
            authentication_profile: chosen(self.auth_profile, acme.authentication_profile),
            signing_profile: chosen(self.sign_profile, acme.signing_profile),
        };
        CaSettings {
            name: Some(present.name).filter(|name| !name.is_empty()),
            authentication_only: self.tls_auth.unwrap_or(present.authentication_only),
            profile: self.profile.unwrap_or(present.profile),
            default_csr_format: self.format.or(present.default_csr_format),
            acme: (!acme.directory_url.is_empty()).then_some(acme),
        }
    }
}

fn check_url(url: &str) -> Result<(), Problem> {
    let rest = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let host = rest.map(|rest| rest.split(['/', '?']).next().unwrap_or_default()).unwrap_or_default();
    let fits = !host.is_empty() && url.len() <= 1024 && url.chars().all(|c| c.is_ascii_graphic());
    if fits { Ok(()) } else { Err(Problem::bad_request("invalid_url")) }
}

pub(super) fn add_service(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let form = call.form()?;
    let said = Said::in_form(&form)?;
    let cert = form.required_file("certificate", CERTIFICATE);
    if said.format.is_none() {
        return Err(Problem::malformed("the form has no default_csr_format"));
    }
    let cert = cert?;
    said.check()?;
    if said.profile.is_none() {
        return Err(Problem::bad_request("certificate_profile_info_class_not_found"));
    }
    let parsed = parsed(&cert)?;
    call.note("caName", parsed.subject());
    let nothing = CaProfile {
        name: String::new(),
        authentication_only: false,
        profile: String::new(),
        default_csr_format: None,
        acme: None,
    };
    let settings = said.over(nothing);
    let state = api.execute(call, Command::AddCa { cert: parsed.der().to_vec(), settings })?;
    let made = state.cas.iter().find(|service| service.top.number == state.numbers.ca);
    let made = made.ok_or_else(|| Problem::internal("the certification service is gone"))?;
    call.note("caId", made.top.number);
    Answer::created(&shown(made)?, &format!("/certification-services/{}", made.top.number))
}

pub(super) fn service(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&shown(service_of(&api.state(), call)?)?)
}

pub(super) fn change_service(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let said = Said::in_body(call.json()?);
    let state = api.state();
    let present = service_of(&state, call)?;
    call.note("caId", present.top.number);
    said.check()?;
    let settings = said.over(present.settings.clone());
    let state = api.execute(call, Command::ChangeCa { ca: present.top.key(), settings })?;
    Answer::ok(&shown(service_of(&state, call)?)?)
}

pub(super) fn remove_service(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let ca = service_of(&api.state(), call)?.top.key();
    call.note("caId", ca.clone());
    api.execute(call, Command::RemoveCa { ca })?;
    Ok(Answer::empty(204))
}

pub(super) fn service_certificate(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    Answer::ok(&CertificateDetails::from(&parsed(&service_of(&state, call)?.top.cert.0)?))
}

fn intermediate_shown(ca: &Ca) -> Result<CertificateAuthority, Problem> {
    Ok(CertificateAuthority { id: ca.number, ca_certificate: CertificateDetails::from(&parsed(&ca.cert.0)?) })
}

pub(super) fn intermediates(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let all = service_of(&state, call)?.intermediates.iter().map(intermediate_shown);
    Answer::ok(&all.collect::<Result<Vec<_>, _>>()?)
}

pub(super) fn add_intermediate(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let cert = call.form()?.required_file("certificate", CERTIFICATE)?;
    let ca = service_of(&api.state(), call)?.top.key();
    let cert = parsed(&cert)?;
    call.note("caId", ca.clone());
    call.note("intermediateCaCertSubject", cert.subject());
    let state = api.execute(call, Command::AddIntermediateCa { ca, cert: cert.der().to_vec() })?;
    let made = state.all_cas().find(|ca| ca.number == state.numbers.ca);
    let made = made.ok_or_else(|| Problem::internal("the intermediate CA is gone"))?;
    Answer::created(&intermediate_shown(made)?, &format!("/intermediate-cas/{}", made.number))
}

pub(super) fn intermediate(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&intermediate_shown(intermediate_of(&api.state(), call)?.1)?)
}

pub(super) fn remove_intermediate(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let (service, below) = intermediate_of(&state, call)?;
    call.note("intermediateCaId", below.number);
    let command = Command::RemoveIntermediateCa { ca: service.top.key(), intermediate: below.key() };
    api.execute(call, command)?;
    Ok(Answer::empty(204))
}

fn cost(text: &str) -> Result<CostType, Problem> {
    match text {
        "FREE" => Ok(CostType::Free),
        "PAID" => Ok(CostType::Paid),
        "UNDEFINED" => Ok(CostType::Undefined),
        _ => Err(Problem::malformed("cost_type is none of FREE, PAID, UNDEFINED")),
    }
}

fn cost_name(cost: CostType) -> String {
    match cost {
        CostType::Free => "FREE",
        CostType::Paid => "PAID",
        CostType::Undefined => "UNDEFINED",
    }
    .into()
}

fn responder_shown(responder: &Responder) -> OcspResponder {
    OcspResponder {
        url: responder.url.clone(),
        cost_type: cost_name(responder.cost),
        id: responder.number,
        has_certificate: responder.cert.is_some(),
    }
}

pub(super) fn service_responders(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    Answer::ok(&service_of(&state, call)?.top.responders.iter().map(responder_shown).collect::<Vec<_>>())
}

pub(super) fn intermediate_responders(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let (_, ca) = intermediate_of(&state, call)?;
    Answer::ok(&ca.responders.iter().map(responder_shown).collect::<Vec<_>>())
}

/// Address, price and certificate of a form; the first two are required of a new service.
struct ServiceForm {
    url: Option<String>,
    cost: Option<CostType>,
    cert: Option<Bytes>,
}

impl ServiceForm {
    fn read(call: &Call, is_new: bool) -> Result<Self, Problem> {
        let form = call.form()?;
        let price = form.text("cost_type").map(|text| cost(&text)).transpose()?;
        let url = form.text("url");
        if is_new {
            form.required("cost_type")?;
            form.required("url")?;
        }
        let cert = form.file("certificate", CERTIFICATE)?.filter(|bytes| !bytes.is_empty());
        if let Some(url) = &url {
            check_url(url)?;
        }
        if let Some(cert) = &cert {
            parsed(cert)?;
        }
        Ok(Self { url, cost: price, cert })
    }
}

fn add_responder(api: &Api, call: &mut Call, ca: String) -> Result<Answer, Problem> {
    let form = ServiceForm::read(call, true)?;
    call.note("caId", ca.clone());
    call.note("ocspUrl", form.url.clone());
    let state = api.execute(
        call,
        Command::AddOcspResponder {
            ca,
            url: form.url.unwrap_or_default(),
            cert: form.cert.map(|cert| cert.to_vec()),
            cost: form.cost.unwrap_or_default(),
        },
    )?;
    let made = state.responder(state.numbers.responder);
    let made = made.ok_or_else(|| Problem::internal("the OCSP responder is gone"))?;
    Answer::created(&responder_shown(made), &format!("/ocsp-responders/{}", made.number))
}

pub(super) fn add_service_responder(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let ca = service_of(&api.state(), call)?.top.key();
    add_responder(api, call, ca)
}

pub(super) fn add_intermediate_responder(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let ca = intermediate_of(&api.state(), call)?.1.key();
    add_responder(api, call, ca)
}

pub(super) fn remove_intermediate_responder(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let (_, ca) = intermediate_of(&state, call)?;
    let number = call.path_number("ocsp_responder_id", NO_RESPONDER)?;
    if !ca.responders.iter().any(|responder| responder.number == number) {
        return Err(Problem::missing(NO_RESPONDER));
    }
    drop_responder(api, call, number)
}

fn drop_responder(api: &Api, call: &mut Call, number: u64) -> Result<Answer, Problem> {
    call.note("ocspId", number);
    api.execute(call, Command::DropOcspResponder { number })?;
    Ok(Answer::empty(204))
}

/// The responder in the path.
fn responder_of<'a>(state: &'a State, call: &Call) -> Result<&'a Responder, Problem> {
    let number = call.path_number("ocsp_responder_id", NO_RESPONDER)?;
    state.responder(number).ok_or_else(|| Problem::missing(NO_RESPONDER))
}

pub(super) fn responder(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&responder_shown(responder_of(&api.state(), call)?))
}

pub(super) fn change_responder(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let form = ServiceForm::read(call, false)?;
    let number = responder_of(&api.state(), call)?.number;
    call.note("ocspId", number);
    call.note("ocspUrl", form.url.clone());
    let cert = form.cert.map(|cert| cert.to_vec());
    let command = Command::ChangeOcspResponder { number, url: form.url, cert, cost: form.cost };
    let state = api.execute(call, command)?;
    Answer::ok(&responder_shown(responder_of(&state, call)?))
}

pub(super) fn remove_responder(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let number = responder_of(&api.state(), call)?.number;
    drop_responder(api, call, number)
}

pub(super) fn responder_certificate(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let cert = responder_of(&state, call)?.cert.as_ref().ok_or_else(|| Problem::missing(NO_RESPONDER))?;
    Answer::ok(&CertificateDetails::from(&parsed(&cert.0)?))
}

fn tsa_shown(state: &State, tsa: &Tsa) -> Result<TimestampingService, Problem> {
    Ok(TimestampingService {
        url: tsa.url.clone(),
        cost_type: cost_name(tsa.cost),
        certificate: CertificateDetails::from(&parsed(&tsa.cert.0)?),
        id: tsa.number,
        timestamping_interval: state.parameters.timestamping_interval_seconds,
    })
}

/// The timestamping service in the path.
fn tsa_of<'a>(state: &'a State, call: &Call) -> Result<&'a Tsa, Problem> {
    let number = call.path_number("timestamping_service_id", NO_TSA)?;
    state.tsas.iter().find(|tsa| tsa.number == number).ok_or_else(|| Problem::missing(NO_TSA))
}

pub(super) fn tsas(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    Answer::ok(&state.tsas.iter().map(|tsa| tsa_shown(&state, tsa)).collect::<Result<Vec<_>, _>>()?)
}

pub(super) fn add_tsa(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let form = ServiceForm::read(call, true)?;
    let cert = form.cert.ok_or_else(|| Problem::malformed("the form has no certificate"))?;
    let url = form.url.unwrap_or_default();
    call.note("tsaUrl", url.clone());
    let command =
        Command::AddTsa { name: None, url, cert: cert.to_vec(), cost: form.cost.unwrap_or_default() };
    let state = api.execute(call, command)?;
    let made = state.tsas.iter().find(|tsa| tsa.number == state.numbers.tsa);
    let made = made.ok_or_else(|| Problem::internal("the timestamping service is gone"))?;
    call.note("tsaId", made.number);
    Answer::created(&tsa_shown(&state, made)?, &format!("/timestamping-services/{}", made.number))
}

pub(super) fn tsa(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    Answer::ok(&tsa_shown(&state, tsa_of(&state, call)?)?)
}

pub(super) fn change_tsa(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let form = ServiceForm::read(call, false)?;
    let number = tsa_of(&api.state(), call)?.number;
    call.note("tsaId", number);
    call.note("tsaUrl", form.url.clone());
    let cert = form.cert.map(|cert| cert.to_vec());
    let state = api.execute(call, Command::ChangeTsa { number, url: form.url, cert, cost: form.cost })?;
    Answer::ok(&tsa_shown(&state, tsa_of(&state, call)?)?)
}

pub(super) fn remove_tsa(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let number = tsa_of(&api.state(), call)?.number;
    call.note("tsaId", number);
    api.execute(call, Command::DropTsa { number })?;
    Ok(Answer::empty(204))
}
