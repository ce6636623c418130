//! What an information system may fetch from its own server, without a message: members, evidence, configuration.
//!
//! Members and configuration are for everybody who reaches the port. Evidence is for the client it is of, identified as for messages;
//! an expired configuration does not keep it back. Errors of `/asic` and `/verificationconf` are statuses with plain text.
//!
//! A list of members can be tens of megabytes and anybody may ask for it, so each is made once per configuration ([`Listings`]) and
//! all who ask share it.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use pki::globalconf::GlobalConf;
use proto::fault::{FaultCode, Side};
use proto::id::{ClientId, IDENTIFIERS_NS};
use proto::soap::XROAD_NS;
use proto::xml::escape_text;
use serde::{Serialize, Serializer};
use tokio::sync::{Mutex, Semaphore};

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

/// How a list of members is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    Xml,
    Json,
}

/// The lists of members that were asked for, by instance and form, each with the digest of the document that it was made from.
/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Listings(Arc<Mutex<HashMap<(String, Form), Listing>>>);

type Listing = ([u8; 32], Bytes);

impl Listings {
    /// The present list. Made by one at a time, the others wait for it.
    async fn get(&self, conf: &Arc<GlobalConf>, instance: &str, form: Form) -> Option<Bytes> {
        let digest = conf.shared(instance)?.0.digest();
        let mut made = self.0.lock().await;
        let key = (instance.to_owned(), form);
        if let Some((of, list)) = made.get(&key)
            && *of == digest
        {
            return Some(list.clone());
        }
        made.retain(|(instance, _), (of, _)| {
            conf.shared(instance).is_some_and(|(now, _)| now.digest() == *of)
        });
        let (conf, instance) = (conf.clone(), instance.to_owned());
        let list = tokio::task::spawn_blocking(move || match form {
            Form::Xml => xml(&conf, &instance),
            Form::Json => json(&conf, &instance),
        });
        let list = Bytes::from(list.await.expect("writing a list does not panic"));
        made.insert(key, (digest, list.clone()));
        Some(list)
    }
}

/// `GET /listClients[?xRoadInstance=X]`: members and subsystems of an instance, as XML, or as JSON when `Accept` says so.
pub(super) async fn list_clients(cx: &Context, request: &Request<'_>) -> Result<Answer, Refusal> {
    let now = cx.clock.now();
    let view = View::take(cx, SIDE, now)?;
    let asked = parameter(request.target.query.as_deref().unwrap_or_default(), "xRoadInstance");
    let instance = asked.filter(|i| !i.is_empty()).unwrap_or_else(|| view.conf.instance().to_owned());
    let unknown = || {
        let message = "the global configuration does not know this instance";
        Failure::new(SIDE, &[FaultCode::InternalError], message)
    };
    if !view.conf.knows_instance(&instance, now) {
        return Err(unknown().into());
    }
    let wants_json = request.head.headers.all("accept").any(|accept| {
        let accept = String::from_utf8_lossy(accept).to_ascii_lowercase();
        accept.contains("application/json")
    });
    let (content_type, form) = match wants_json {
        true => ("application/json; charset=utf-8", Form::Json),
        false => ("text/xml; charset=UTF-8", Form::Xml),
    };
    let body = cx.kept.listings.get(&view.conf, &instance, form).await.ok_or_else(unknown)?;
    let mut headers = Headers::default();
    headers.push("Content-Type", content_type);
    Ok(Answer::new(200, headers, AnswerBody::Bytes(body)))
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
    let body = AnswerBody::Stream { length, stream: answer.body.stream().boxed() };
    Answer::new(answer.status, headers, body)
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
    Answer::new(200, headers, AnswerBody::Bytes(zip.into()))
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

/// A member or subsystem in JSON, its fields in the order in which they are known to be written.
#[derive(Serialize)]
struct Listed<'a> {
    id: ListedId<'a>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subsystem_name: Option<&'a str>,
}

#[derive(Serialize)]
struct ListedId<'a> {
    member_class: &'a str,
    member_code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subsystem_code: Option<&'a str>,
    object_type: &'static str,
    xroad_instance: &'a str,
}

/// `{"member": […]}`, written as the configuration is walked.
struct List<'a>(&'a GlobalConf, &'a str);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{SerializeMap, SerializeSeq};
        struct Members<'a>(&'a GlobalConf, &'a str);
        impl Serialize for Members<'_> {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let mut list = to.serialize_seq(None)?;
                for (client, name, subsystem_name) in self.0.clients_with_names(self.1) {
                    let id = ListedId {
                        member_class: &client.member.class,
                        member_code: &client.member.code,
                        subsystem_code: client.subsystem.as_deref(),
                        object_type: object_type(&client),
                        xroad_instance: &client.member.instance,
                    };
                    list.serialize_element(&Listed { id, name, subsystem_name })?;
                }
                list.end()
            }
        }
        let mut map = to.serialize_map(Some(1))?;
        map.serialize_entry("member", &Members(self.0, self.1))?;
        map.end()
    }
}

fn json(conf: &GlobalConf, instance: &str) -> Vec<u8> {
    serde_json::to_vec(&List(conf, instance)).expect("strings can be written as JSON")
}

fn xml(conf: &GlobalConf, instance: &str) -> Vec<u8> {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\
         <xroad:clientList xmlns:xroad=\"{XROAD_NS}\" xmlns:id=\"{IDENTIFIERS_NS}\">",
    );
    for (client, name, subsystem_name) in conf.clients_with_names(instance) {
        let member = &client.member;
        let codes = [
            ("xRoadInstance", Some(&member.instance)),
            ("memberClass", Some(&member.class)),
            ("memberCode", Some(&member.code)),
            ("subsystemCode", client.subsystem.as_ref()),
        ];
        let mut put = |piece: std::fmt::Arguments<'_>| text.write_fmt(piece).expect("a string takes text");
        put(format_args!("<xroad:member><xroad:id id:objectType=\"{}\">", object_type(&client)));
        for (element, code) in codes {
            if let Some(code) = code {
                put(format_args!("<id:{element}>{}</id:{element}>", escape_text(code)));
            }
        }
        put(format_args!("</xroad:id><xroad:name>{}</xroad:name>", escape_text(name)));
        if let Some(name) = subsystem_name {
            put(format_args!("<xroad:subsystemName>{}</xroad:subsystemName>", escape_text(name)));
        }
        put(format_args!("</xroad:member>"));
    }
    text.push_str("</xroad:clientList>");
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestServer, globalconf};

    #[tokio::test]
    async fn a_list_is_made_once_per_configuration() {
        let server =
            |clients| TestServer { id: "EE/GOV/1/ss1", address: "a", clients, ..TestServer::default() };
        let conf = |clients| Arc::new(globalconf(&[server(clients)], &[]));
        let (before, same, after) =
            (conf(&["EE/GOV/1/<a>"]), conf(&["EE/GOV/1/<a>"]), conf(&["EE/GOV/1/<a>", "EE/GOV/1/b"]));
        let listings = Listings::default();
        let first = listings.get(&before, "EE", Form::Xml).await.unwrap();
        let again = listings.get(&same, "EE", Form::Xml).await.unwrap();
        assert_eq!(again.as_ptr(), first.as_ptr(), "shared");
        let json = listings.get(&before, "EE", Form::Json).await.unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let id = |object_type| serde_json::json!({"member_class": "GOV", "member_code": "1", "object_type": object_type, "xroad_instance": "EE"});
        let mut subsystem = id("SUBSYSTEM");
        subsystem["subsystem_code"] = "<a>".into();
        let expected = serde_json::json!({"member": [{"id": id("MEMBER"), "name": "1"}, {"id": subsystem, "name": "1"}]});
        assert_eq!(json, expected);
        let other = listings.get(&after, "EE", Form::Xml).await.unwrap();
        let text = String::from_utf8(other.to_vec()).unwrap();
        assert!(text.contains("<id:subsystemCode>&lt;a&gt;</id:subsystemCode>"), "{text}");
        assert_eq!(text.matches("<xroad:member>").count(), 3, "{text}");
        assert_eq!(listings.0.lock().await.len(), 1, "nothing of an earlier configuration is kept");
        assert_eq!(listings.get(&after, "XX", Form::Xml).await, None);
    }
}
