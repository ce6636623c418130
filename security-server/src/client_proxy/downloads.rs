//! What an information system may fetch from its own server, without a message: members, evidence, configuration [trust dossier §5.1].
//!
//! Members and configuration are for everybody who reaches the port. Evidence is for the client it is of, identified as for messages;
//! an expired configuration does not keep it back. Errors of `/asic` and `/verificationconf` are statuses with plain text.

use futures_util::StreamExt;
use pki::globalconf::GlobalConf;
use proto::fault::{FaultCode, Side};
use proto::id::ClientId;
use proto::xml::{escape_attribute, escape_text};

use tokio::sync::Semaphore;

use super::{Request, plain};
use crate::context::Context;
use crate::exchange::View;
use crate::faults::{Failure, Refusal};
use crate::http1::Headers;
use crate::http1::server::{Answer, AnswerBody};
use crate::message_log::download::{self, AsicAnswer, AsicQuery};

/// Zips of the configuration that are made at the same time.
static ZIPS: Semaphore = Semaphore::const_new(2);

const SIDE: Side = Side::ClientProxy;

/// `GET /listClients[?xRoadInstance=X]`: members and subsystems of an instance, as XML, or as JSON when `Accept` says so.
pub(super) fn list_clients(cx: &Context, request: &Request<'_>) -> Result<Answer, Refusal> {
    let now = cx.clock.now();
    let view = View::take(cx, SIDE, now)?;
    let asked = parameter(request.target.query.as_deref().unwrap_or_default(), "xRoadInstance");
    let instance = asked.filter(|i| !i.is_empty()).unwrap_or_else(|| view.conf.instance().to_owned());
    if !view.conf.knows_instance(&instance, now) {
        let message = "the global configuration does not know this instance";
        return Err(Failure::new(SIDE, &[FaultCode::InternalError], message).into());
    }
    let wants_json = request.head.headers.all("accept").any(|accept| {
        let accept = String::from_utf8_lossy(accept).to_ascii_lowercase();
        accept.contains("application/json")
    });
    let (content_type, body) = if wants_json {
        ("application/json; charset=utf-8", json(&view.conf, &instance))
    } else {
        ("text/xml; charset=UTF-8", xml(&view.conf, &instance))
    };
    let mut headers = Headers::default();
    headers.push("Content-Type", content_type);
    Ok(Answer { status: 200, headers, body: AnswerBody::Bytes(body.into()) })
}

/// `GET /asic?…`: containers of the messages of a client.
pub(super) async fn asic(cx: &Context, request: &Request<'_>) -> Answer {
    let query = match AsicQuery::parse(request.target.query.as_deref().unwrap_or_default()) {
        Ok(query) => query,
        Err(answer) => return file(answer),
    };
    let server = cx.serverconf.load_full();
    match request.caller.speaks_for(cx, &server, &query.client, cx.clock.now()) {
        Ok(_admitted) => file(cx.log.download(&query).await),
        Err(failure) => plain(401, failure.message()),
    }
}

fn file(answer: AsicAnswer) -> Answer {
    let mut headers = Headers::default();
    headers.push("Content-Type", answer.content_type);
    if let Some(disposition) = answer.disposition {
        headers.push("Content-Disposition", disposition);
    }
    let length = answer.body.len();
    Answer {
        status: answer.status,
        headers,
        body: AnswerBody::Stream { length, stream: answer.body.stream().boxed() },
    }
}

/// `GET /verificationconf`: what an offline verifier needs of the configuration.
pub(super) async fn verification_conf(cx: &Context) -> Answer {
    // Anybody may ask, and each answer is a zip of everything.
    let Ok(_permit) = ZIPS.acquire().await else { return plain(503, "the server is busy: try again later") };
    let folder = cx.settings.data_dir.join("globalconf");
    let made = tokio::task::spawn_blocking(move || download::verification_conf(&folder)).await;
    let zip = match made.map_err(std::io::Error::other).and_then(|made| made) {
        Ok(zip) => zip,
        Err(error) => {
            tracing::warn!(%error, "the stored global configuration could not be packed");
            return plain(500, "the stored global configuration could not be packed");
        }
    };
    let mut headers = Headers::default();
    headers.push("Content-Type", "application/zip");
    headers.push("Content-Disposition", "filename=\"verificationconf.zip\"");
    Answer { status: 200, headers, body: AnswerBody::Bytes(zip.into()) }
}

/// The first value of a query parameter, unescaped.
fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.split_once('=').filter(|(n, _)| *n == name))?.1;
    let spaces = value.replace('+', " ");
    Some(percent_encoding::percent_decode_str(&spaces).decode_utf8_lossy().into_owned())
}

fn object_type(client: &ClientId) -> &'static str {
    if client.subsystem.is_some() { "SUBSYSTEM" } else { "MEMBER" }
}

fn json(conf: &GlobalConf, instance: &str) -> Vec<u8> {
    let members = conf.clients(instance).into_iter().map(|(client, name)| {
        let mut id = serde_json::json!({
            "member_class": client.member.class,
            "member_code": client.member.code,
            "object_type": object_type(&client),
            "xroad_instance": client.member.instance,
        });
        if let Some(subsystem) = &client.subsystem {
            id["subsystem_code"] = subsystem.as_str().into();
        }
        serde_json::json!({ "id": id, "name": name })
    });
    let list = serde_json::json!({ "member": members.collect::<Vec<_>>() });
    list.to_string().into_bytes()
}

fn xml(conf: &GlobalConf, instance: &str) -> Vec<u8> {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\
         <xroad:clientList xmlns:xroad=\"http://x-road.eu/xsd/xroad.xsd\" xmlns:id=\"http://x-road.eu/xsd/identifiers\">",
    );
    for (client, name) in conf.clients(instance) {
        text.push_str(&format!(
            "<xroad:member><xroad:id id:objectType=\"{}\">",
            escape_attribute(object_type(&client))
        ));
        let codes = [
            ("xRoadInstance", Some(&client.member.instance)),
            ("memberClass", Some(&client.member.class)),
            ("memberCode", Some(&client.member.code)),
            ("subsystemCode", client.subsystem.as_ref()),
        ];
        for (element, code) in codes {
            if let Some(code) = code {
                text.push_str(&format!("<id:{element}>{}</id:{element}>", escape_text(code)));
            }
        }
        text.push_str(&format!("</xroad:id><xroad:name>{}</xroad:name></xroad:member>", escape_text(&name)));
    }
    text.push_str("</xroad:clientList>");
    text.into_bytes()
}
