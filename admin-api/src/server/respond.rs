//! From answers and refusals to HTTP: headers that every answer has, media types that a caller takes, queries.

use host::http::{ResponseBody, empty, full};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use proto::time::UnixTime;
use serde_json::json;

use crate::call::Answer;
use crate::problem::Problem;

/// Most parameters of a query.
const MAX_PARAMETERS: usize = 200;

/// On every answer.
const HEADERS: [(&str, &str); 8] = [
    ("x-content-type-options", "nosniff"),
    ("x-xss-protection", "0"),
    ("cache-control", "no-cache, no-store, max-age=0, must-revalidate"),
    ("pragma", "no-cache"),
    ("expires", "0"),
    ("strict-transport-security", "max-age=31536000 ; includeSubDomains"),
    ("x-frame-options", "DENY"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
];

/// What goes back.
pub(super) enum Reply {
    Done(Answer),
    Refused(Problem),
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Done(answer)
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl Reply {
    pub(super) fn file(media_type: &'static str, bytes: Vec<u8>) -> Self {
        let answer = Answer { media_type: Some(media_type), body: bytes.into(), ..Answer::empty(200) };
        Self::Done(answer)
    }

    pub(super) fn options(allow: &str) -> Self {
        let mut answer = Answer::empty(200);
        answer.headers.push(("allow", format!("{allow},HEAD,OPTIONS")));
        Self::Done(answer)
    }
}

/// What an answer says about its request.
pub(super) struct About<'a> {
    pub(super) correlation: &'a str,
    pub(super) path: Option<&'a str>,
    pub(super) host: Option<&'a str>,
    pub(super) head: bool,
    pub(super) now: UnixTime,
}

/// The HTTP answer.
pub(super) fn finish(reply: Reply, about: &About<'_>) -> Response<ResponseBody> {
    let mut file = None;
    let (status, media_type, body, headers) = match reply {
        Reply::Done(answer) => {
            file = answer.file.and_then(|sent| Some((sent.file.try_clone().ok()?, sent.bytes)));
            (answer.status, answer.media_type, answer.body.to_vec(), answer.headers)
        }
        Reply::Refused(problem) => {
            let body = if problem.log_in {
                log_in_body(&problem, about).to_string()
            } else {
                serde_json::to_string(&problem.body()).unwrap_or_default()
            };
            // The caller takes no JSON, so there is nothing to say it in.
            let silent = problem.headers.iter().any(|(name, _)| *name == SILENT);
            let body = if silent { Vec::new() } else { body.into_bytes() };
            (problem.status, (!silent).then_some("application/json"), body, problem.headers)
        }
    };
    let body = match file {
        _ if about.head => empty(),
        Some((file, bytes)) => host::http::file(file, bytes),
        None if body.is_empty() => empty(),
        None => full(body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let all = response.headers_mut();
    for (name, value) in HEADERS {
        all.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let mut add = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            all.append(HeaderName::from_static(name), value);
        }
    };
    add("x-road-ui-correlation-id", about.correlation);
    if let Some(media_type) = media_type {
        add("content-type", media_type);
    }
    for (name, value) in headers.iter().filter(|(name, _)| *name != SILENT) {
        match *name {
            "location" => {
                add(name, &format!("https://{}/api{value}", about.host.unwrap_or("localhost")));
            }
            _ => add(name, value),
        }
    }
    response
}

/// Marks a refusal without a body.
const SILENT: &str = "x-silent";

/// The body of refusals of `/login`, `/api-keys` and of forged requests.
fn log_in_body(problem: &Problem, about: &About<'_>) -> serde_json::Value {
    let reason = StatusCode::from_u16(problem.status).ok().and_then(|status| status.canonical_reason());
    let mut body = json!({
        "timestamp": crate::types::date(about.now).replace('Z', "+00:00"),
        "status": problem.status,
        "error": reason.unwrap_or_default(),
    });
    if let Some(path) = about.path {
        body["path"] = path.into();
    }
    body
}

/// What media types a caller takes.
#[derive(Clone, Debug)]
pub(super) struct Accept(Vec<String>);

impl Accept {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let types = values.flat_map(|value| value.split(','));
        Self(
            types
                .map(|each| proto::media_type::base(each).trim().to_ascii_lowercase())
                .filter(|t| !t.is_empty())
                .collect(),
        )
    }

    /// Whether it takes this one. Whoever names none takes all.
    pub(super) fn allows(&self, media_type: &str) -> bool {
        let main = media_type.split('/').next().unwrap_or_default();
        let fits = |accepted: &String| {
            accepted == "*/*" || accepted == media_type || accepted.strip_suffix("/*") == Some(main)
        };
        self.0.is_empty() || self.0.iter().any(fits)
    }

    /// The refusal that names what there is; with a body when the caller takes JSON.
    pub(super) fn refusal(&self, there_is: &'static str) -> Problem {
        let problem = Problem::status(406).header("accept", there_is);
        if self.allows("application/json") { problem } else { problem.header(SILENT, "") }
    }
}

/// The parameters of a query, without escapes; broken ones are dropped.
pub(super) fn query(text: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8().ok().map(|text| text.into_owned())
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .take(MAX_PARAMETERS)
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?.trim().to_owned()))
        })
        .collect()
}
