//! The population register over REST: `GET /residents/{code}` and `POST /searches`, described by `openapi.json`.

use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::base_url;
use super::population::{self, Resident, Search};
use crate::http::{RequestBody, ResponseBody, read_all, respond};

/// Where it lies on the sample server.
pub const BASE: &str = "/register";

/// Largest search.
const SEARCH_LIMIT_BYTES: usize = 64 << 10;

const OPENAPI: &str = include_str!("openapi.json");

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    asked_by: Option<String>,
    residents: Vec<&'static Resident>,
}

/// Answers a request for `path` below [`BASE`].
pub(super) async fn answer(path: &str, request: Request<RequestBody>) -> Response<ResponseBody> {
    match (request.method(), path) {
        (&Method::GET, "/openapi.json") => {
            let document = OPENAPI.replace("@BASE@", &base_url(&request, BASE));
            respond(StatusCode::OK, "application/json", document)
        }
        (&Method::GET, _) if path.starts_with("/residents/") => one(path.trim_start_matches("/residents/")),
        (&Method::POST, "/searches") => {
            let asked_by = request
                .headers()
                .get("x-road-client")
                .and_then(|value| value.to_str().ok().map(str::to_owned));
            match read_all(request.into_body(), SEARCH_LIMIT_BYTES).await {
                Ok(body) => search(asked_by, &body),
                Err(_) => problem(StatusCode::BAD_REQUEST, "The search could not be read."),
            }
        }
        _ => problem(StatusCode::NOT_FOUND, "There is nothing here."),
    }
}

fn one(code: &str) -> Response<ResponseBody> {
    match population::resident(code) {
        Some(resident) => json_answer(StatusCode::OK, resident),
        None => problem(StatusCode::NOT_FOUND, "No resident has this code."),
    }
}

fn search(asked_by: Option<String>, body: &[u8]) -> Response<ResponseBody> {
    match serde_json::from_slice::<Search>(body) {
        Ok(search) => json_answer(StatusCode::OK, &Found { asked_by, residents: population::find(&search) }),
        Err(error) => problem(StatusCode::BAD_REQUEST, &format!("This is not a search: {error}.")),
    }
}

fn problem(status: StatusCode, title: &str) -> Response<ResponseBody> {
    json_answer(status, &json!({ "title": title, "status": status.as_u16() }))
}

fn json_answer<T: Serialize>(status: StatusCode, value: &T) -> Response<ResponseBody> {
    let body = serde_json::to_vec(value).expect("strings and numbers always serialise");
    respond(status, "application/json", body)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::Value;

    use super::*;

    async fn read(response: Response<ResponseBody>) -> (u16, Value) {
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn one_resident_or_none() {
        let (status, found) = read(one("M-2019-0502")).await;
        assert_eq!((status, &found["givenName"]), (200, &json!("Säde")));
        assert_eq!(read(one("M-0000")).await.0, 404);
    }

    #[tokio::test]
    async fn a_search_says_who_asked() {
        let (status, found) =
            read(search(Some("DEMO/MUN/2001/school".into()), br#"{"movedTo":"Rannala"}"#)).await;
        assert_eq!((status, &found["askedBy"]), (200, &json!("DEMO/MUN/2001/school")));
        assert_eq!(found["residents"].as_array().unwrap().len(), 6);
        assert_eq!(read(search(None, br#"{"color":"red"}"#)).await.0, 400);
    }

    #[test]
    fn the_document_describes_what_is_answered() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3."));
        let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
        assert_eq!(paths, ["/residents/{code}", "/searches"]);
        // Every member that is sent is described, and the other way round.
        let sent = serde_json::to_value(population::resident("M-2019-0502")).unwrap();
        let schema = document["components"]["schemas"]["Resident"]["properties"].as_object().unwrap();
        assert_eq!(sent.as_object().unwrap().keys().collect::<Vec<_>>(), schema.keys().collect::<Vec<_>>());
    }
}
