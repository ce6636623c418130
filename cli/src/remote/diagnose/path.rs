//! The path of one message, from a client of this server to a service, as far as this side can see.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Report, fetch};
use crate::exit::Usage;
use crate::remote::connection::{Call, encode};
use crate::remote::failure::failure_of;
use crate::remote::ids::{self, Shape};
use crate::remote::output::{clean, field};
use crate::remote::session::Session;

/// For the list of methods that may be called.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;
const WAIT: Duration = Duration::from_secs(60);

/// Follows it.
pub(super) fn follow(
    session: &Session,
    from: &str,
    to: &str,
    proxy: Option<&str>,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.group("path");
    let client = ids::complete(session, from, Shape::Client)?;
    let (provider, code) =
        to.rsplit_once(':').ok_or_else(|| Usage(format!("{to}: a service is written COM:4321:TEST:code")))?;
    let provider = ids::complete(session, provider, Shape::Client)?;
    if let Some(one) = fetch(session, &format!("/clients/{}", encode(&client)), "client", report)? {
        let status = field(&one, "status");
        let remedy = "causeway ss client register";
        report.expect(
            status == "REGISTERED",
            "client",
            &format!("{client} is registered"),
            &format!("{client} is {status}"),
            remedy,
        );
        if one["has_valid_local_sign_cert"] == json!(false) {
            report.fail(
                "signing",
                "its member has no valid signing certificate here",
                "causeway ss csr create --usage sign --member",
            );
        }
    }
    let known = session.list("/clients?internal_search=false&show_members=true")?;
    let is_known = known.iter().any(|one| field(one, "id") == provider);
    let remedy = "is the identifier right, and the provider registered? causeway ss client list --all";
    report.expect(
        is_known,
        "provider",
        &format!("{provider} is in the configuration"),
        &format!("{provider} is not in the configuration"),
        remedy,
    );
    if is_known {
        peers(session, &client, &provider, report)?;
    }
    match proxy {
        Some(url) => allowed(url, &client, &provider, code, report),
        None => report.skip("access", "--proxy URL asks whether the service may be called"),
    }
    Ok(())
}

/// Every server of the provider, tried with a real call of this server's.
fn peers(session: &Session, client: &str, provider: &str, report: &mut Report) -> anyhow::Result<()> {
    let path = format!("/clients/{}/security-servers", encode(provider));
    let Some(servers) = fetch(session, &path, "servers of the provider", report)? else { return Ok(()) };
    let servers = servers.as_array().map(Vec::as_slice).unwrap_or_default();
    if servers.is_empty() {
        report.fail("servers of the provider", "it is registered at none", "its operator has to register it");
    }
    for server in servers {
        let id = field(server, "id");
        let call = Call::get("/diagnostics/other-security-server-status")
            .query("protocol_type", "REST")
            .query("client_id", client)
            .query("target_client_id", provider)
            .query("security_server_id", &id);
        let what = format!("{id} at {}", field(server, "server_address"));
        match session.call(&call) {
            Ok(body) => judged(&what, &body, report),
            Err(error) => match failure_of(&error) {
                Some(failure) => match failure.code() {
                    Some(code) => report.fail(
                        "peer",
                        format!("{what}: {code}"),
                        "are its ports 5500 and 5577 open to us?",
                    ),
                    None => report.skip("peer", format!("{what}: the server does not offer the test")),
                },
                None => return Err(error),
            },
        }
    }
    Ok(())
}

fn judged(what: &str, body: &Value, report: &mut Report) {
    match field(body, "status_class").as_str() {
        "OK" => report.ok("peer", format!("{what} answers")),
        _ => report.fail(
            "peer",
            format!("{what}: {} {}", field(body, "error.code"), field(body, "error.metadata")),
            "are its ports 5500 and 5577 open to us, and its certificate registered?",
        ),
    }
}

/// Asks the provider, through this server, what the client may call [PR-REST §5].
fn allowed(proxy: &str, client: &str, provider: &str, code: &str, report: &mut Report) {
    let slashes = |id: &str| id.split(':').map(encode).collect::<Vec<_>>().join("/");
    let url = format!("{}/r1/{}/allowedMethods", proxy.trim_end_matches('/'), slashes(provider));
    let request = http::Request::builder().uri(&url).header("x-road-client", slashes(client));
    let request = request.header("accept", "application/json").body(host::http::empty());
    let (Ok(request), Ok(runtime)) =
        (request, tokio::runtime::Builder::new_current_thread().enable_all().build())
    else {
        report.skip("access", format!("{url} cannot be asked"));
        return;
    };
    let answer = runtime
        .block_on(async { host::http::Client::new(WAIT, WAIT, &[]).request(request, ANSWER_BYTES).await });
    match answer {
        Err(error) => report.fail(
            "access",
            error.to_string(),
            "is --proxy the address for information systems of this server?",
        ),
        Ok(answer) if answer.status() != 200 => {
            let text = clean(&String::from_utf8_lossy(answer.body()));
            report.fail(
                "access",
                format!("{}: {text}", answer.status()),
                "the fault's detail id stands in the servers' logs",
            );
        }
        Ok(answer) => {
            let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
            let bare = code.split('.').next().unwrap_or(code);
            let listed = body["service"].as_array().into_iter().flatten().any(|one| {
                let found = field(one, "service_code");
                found == code || found == bare
            });
            let good = format!("{client} may call {code}");
            let wrong = format!("{code} is not among what {client} may call");
            report.expect(
                listed,
                "access",
                &good,
                &wrong,
                "its operator grants it: causeway ss access grant … (a SOAP service is not listed here)",
            );
        }
    }
}
