//! Certificate signing requests: by certificate profile, remembered with their key, made anew at each download.

use admin_api::check::SIZE;
use admin_api::operation::{delete, get, post};
use admin_api::types::security_server::tokens::CsrGenerate;
use admin_api::{Answer, Call, Check, Problem};
use proto::time::UnixTime;
use signer::TokenError;
use signer::token::{CsrInfo, CsrRequest, KeyInfo, KeyUsage};

use super::csr_fields::{self, For};
use super::tokens::{key_actions, logged_in};
use super::{Api, Rows, keys, problems, trust};

/// What asking for a certificate may be refused with.
const REFUSED: &[(u16, &str)] = &[
    (404, "key_not_found"),
    (400, "certificate_authority_not_found"),
    (400, "client_not_found"),
    (400, "invalid_csr_format"),
    (400, "invalid_dn_parameter"),
    (400, "memberId_required_for_sign_csr"),
    (400, "acme_not_supported"),
    (409, "action_not_possible"),
    (409, "global_conf_outdated"),
];
/// The same where the key is made with it.
pub(super) const REFUSED_WITH_KEY: &[(u16, &str)] = &[
    (404, "token_not_found"),
    (404, "certificate_authority_not_found"),
    (400, "client_not_found"),
    (400, "invalid_csr_format"),
    (400, "invalid_dn_parameter"),
    (400, "memberId_required_for_sign_csr"),
    (400, "acme_not_supported"),
    (409, "action_not_possible"),
    (409, "global_conf_outdated"),
];

/// Rows of the table.
pub(super) fn rows() -> Rows {
    const MISSING: (u16, &str) = (404, "csr_not_found");
    vec![
        post("generateCsr", "/keys/{id}/csrs")
            .right("GENERATE_AUTH_CERT_REQ")
            .right("GENERATE_SIGN_CERT_REQ")
            .audit("Generate CSR")
            .takes::<CsrGenerate>()
            .gives_file("application/octet-stream")
            .refuses(REFUSED)
            .by(generate),
        get("downloadCsr", "/keys/{id}/csrs/{csr_id}")
            .right("GENERATE_AUTH_CERT_REQ")
            .right("GENERATE_SIGN_CERT_REQ")
            .query(&["csr_format"])
            .gives_file("application/octet-stream")
            .refuses(&[(404, "key_not_found"), MISSING, (409, "action_not_possible")])
            .by(download),
        delete("deleteCsr", "/keys/{id}/csrs/{csr_id}")
            .right("DELETE_AUTH_CERT")
            .right("DELETE_SIGN_CERT")
            .audit("Delete CSR")
            .gives_nothing(204)
            .refuses(&[MISSING])
            .by(remove),
        get("getPossibleActionsForCsr", "/keys/{id}/csrs/{csr_id}/possible-actions")
            .right("VIEW_KEYS")
            .gives::<Vec<String>>(200)
            .refuses(&[MISSING])
            .by(actions),
    ]
}

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Pem,
    Der,
}

impl Format {
    fn read(text: &str) -> Option<Self> {
        match text {
            "PEM" => Some(Self::Pem),
            "DER" => Some(Self::Der),
            _ => None,
        }
    }
}

/// What is asked for, checked.
pub(super) struct Wanted {
    pub(super) usage: KeyUsage,
    pub(super) request: CsrRequest,
    format: Format,
}

/// Fields that must be there; `place` stands in front of their names.
pub(super) fn check_fields(check: &mut Check, place: &str, asked: Option<&CsrGenerate>) {
    let Some(asked) = asked else { return };
    let field = |name: &str| format!("{place}{name}");
    check.required(&field("caName"), asked.ca_name.clone(), &[SIZE]);
    check.present(&field("keyUsageType"), asked.key_usage_type.as_ref());
    check.present(&field("csrFormat"), asked.csr_format.as_ref());
    check.present(&field("subjectFieldValues"), asked.subject_field_values.as_ref());
}

impl Wanted {
    /// What a call asks for, after [`check_fields`].
    pub(super) fn read(api: &Api, call: &mut Call, asked: CsrGenerate) -> Result<Self, Problem> {
        let text = asked.key_usage_type.unwrap_or_default().0;
        let usage =
            trust::usage(&text).ok_or_else(|| Problem::malformed(format!("{text} is no usage of a key")))?;
        trust::may_request(call, usage)?;
        let text = asked.csr_format.unwrap_or_default().0;
        let format =
            Format::read(&text).ok_or_else(|| Problem::malformed(format!("{text} is no format of a CSR")))?;
        if asked.acme_order.is_some_and(|flag| flag.0) {
            return Err(Problem::bad_request("acme_not_supported"));
        }
        let name = asked.ca_name.unwrap_or_default().0;
        call.note("certificationServiceName", name.clone());
        call.note("keyUsage", super::tokens::usage_name(usage).unwrap_or_default());
        let conf = api.valid_globalconf()?;
        let missing = || Problem::missing("certificate_authority_not_found");
        let (ca, profile) = trust::ca(&conf, &name).ok_or_else(missing)?;
        if ca.authentication_only && usage == KeyUsage::Signing {
            return Err(missing());
        }
        let wrong_format = |default: &String| Format::read(default).is_some_and(|default| default != format);
        if ca.default_csr_format.as_ref().is_some_and(wrong_format) {
            return Err(Problem::bad_request("invalid_csr_format"));
        }
        let member = trust::member_for(api, usage, asked.member_id.as_deref(), false)?;
        if usage == KeyUsage::Signing {
            call.note("clientIdentifier", member.to_string());
        }
        let (server, name) = (api.server_id()?, trust::name_of(&conf, &member));
        let wanted = For { usage, server: &server, member: &member, name: &name };
        let filled_in = asked.subject_field_values.unwrap_or_default();
        let mut request = csr_fields::fill_in(profile, &wanted, &filled_in)?;
        request.profile = ca.profile.clone();
        Ok(Self { usage, request, format })
    }
}

/// The answer to a request that the token does not make.
pub(super) fn problem(error: TokenError) -> Problem {
    match error {
        // Fields that cannot be written into a subject.
        TokenError::Key(error) => Problem::bad_request("invalid_dn_parameter").because(error.to_string()),
        TokenError::Usage { .. } => problems::not_possible(),
        other => problems::of_token(other),
    }
}

fn generate(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: CsrGenerate = call.json()?;
    let mut check = Check::new("csrGenerateDto");
    check_fields(&mut check, "", Some(&asked));
    check.done()?;
    let id = call.path("id").to_owned();
    call.note("keyId", id.clone());
    let wanted = Wanted::read(api, call, asked).map_err(|problem| match problem.code.as_deref() {
        // Named in the body here, as much as the rest of it.
        Some("certificate_authority_not_found") => Problem { status: 400, ..problem },
        _ => problem,
    })?;
    let key = keys::find(api, &id)?;
    let action = if wanted.usage == KeyUsage::Signing { "GENERATE_SIGN_CSR" } else { "GENERATE_AUTH_CSR" };
    if !key_actions(api, &key).contains(&action) {
        return Err(problems::not_possible());
    }
    let token = logged_in(api)?;
    let csr = token.request_certificate(&id, wanted.usage, wanted.request.clone()).map_err(problem)?;
    file(api, &key, &CsrInfo { id: csr, request: wanted.request }, wanted.format)
}

/// The file, made anew.
fn file(api: &Api, key: &KeyInfo, csr: &CsrInfo, format: Format) -> Result<Answer, Problem> {
    let der = logged_in(api)?.write_csr(&key.id, &csr.id).map_err(problem)?;
    let (ending, bytes) = match format {
        Format::Der => ("der", der),
        Format::Pem => ("pem", pki::pem::encode("CERTIFICATE REQUEST", &der).into_bytes()),
    };
    let day = day(api.now());
    let server = api.server_id()?;
    let name = match &csr.request.member {
        Some(m) => format!("sign_csr_{day}_member_{}_{}_{}", m.instance, m.class, m.code),
        None => {
            let owner = &server.owner;
            format!(
                "auth_csr_{day}_securityserver_{}_{}_{}_{}",
                owner.instance, owner.class, owner.code, server.code
            )
        }
    };
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = name.chars().map(safe).collect();
    Ok(Answer::file("application/octet-stream", &format!("{name}.{ending}"), bytes))
}

/// `YYYYMMDD`.
pub(super) fn day(at: UnixTime) -> String {
    at.to_iso8601().chars().take(10).filter(char::is_ascii_digit).collect()
}

/// The key and the request in the path.
fn find(api: &Api, call: &Call) -> Result<(KeyInfo, CsrInfo), Problem> {
    let key = keys::find(api, call.path("id")).map_err(problems::signers)?;
    let csr = key.csrs.iter().find(|csr| csr.id == call.path("csr_id")).cloned();
    let csr = csr.ok_or_else(|| problems::signers(Problem::missing("csr_not_found")))?;
    Ok((key, csr))
}

/// The same where the request is what is asked about.
fn find_csr(api: &Api, call: &Call) -> Result<(KeyInfo, CsrInfo), Problem> {
    find(api, call).map_err(|_| problems::signers(Problem::missing("csr_not_found")))
}

fn download(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let format = match call.query("csr_format") {
        None => Format::Pem,
        Some(text) => Format::read(text)
            .ok_or_else(|| Problem::invalid("csr_format", format!("{text} is neither PEM nor DER")))?,
    };
    let (key, csr) = find(api, call)?;
    trust::may_request(call, key.usage)?;
    file(api, &key, &csr, format)
}

fn remove(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let (key, csr) = find_csr(api, call)?;
    call.note("keyId", key.id.clone());
    call.note("csrId", csr.id.clone());
    let signing = key.usage == KeyUsage::Signing;
    call.needs(if signing { "DELETE_SIGN_CERT" } else { "DELETE_AUTH_CERT" })?;
    api.token()?.delete_csr(&csr.id).map_err(problems::of_token)?;
    Ok(Answer::empty(204))
}

fn actions(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    find_csr(api, call)?;
    Answer::ok(&["DELETE"])
}
