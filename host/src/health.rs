//! What an operator's tools ask a running server: `/health` and `/metrics` on a loopback address, over plain HTTP.
//!
//! `/health` answers 200 or 503 with JSON, `/metrics` Prometheus text; anything else 404. There is no authentication, so the address
//! should not leave the machine.
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use tokio::net::TcpListener;

use crate::http::{Limits, RequestBody, ResponseBody, Transport, full, serve};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// The state of a server as one answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// It can do its work.
    pub ready: bool,
    /// Details, part by part, for people.
    pub details: serde_json::Value,
}

/// Gives the present state; called for each question, so cheap.
pub type Check = Arc<dyn Fn() -> Health + Send + Sync>;

/// Serves until `shutdown` says stop: the task to own.
pub fn serve_on(
    listener: TcpListener,
    metrics: Metrics,
    check: Check,
    shutdown: Shutdown,
) -> impl Future<Output = ()> + Send + 'static {
    let limits = Limits {
        connections: 32,
        head_read: Duration::from_secs(5),
        idle: Duration::from_secs(30),
        ..Limits::default()
    };
    let handler = move |request: Request<RequestBody>, _| {
        let answer = answer(&request, &metrics, &check);
        async { answer }
    };
    serve(listener, Transport::Plain, limits, shutdown, handler)
}

fn answer(request: &Request<RequestBody>, metrics: &Metrics, check: &Check) -> Response<ResponseBody> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/health") => {
            let health = check();
            let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let body = serde_json::json!({ "ready": health.ready, "details": health.details });
            (status, "application/json", body.to_string())
        }
        (&Method::GET | &Method::HEAD, "/metrics") => {
            (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics.render())
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", "ask /health or /metrics\n".to_owned()),
    };
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Client;

    #[tokio::test]
    async fn answers_health_and_metrics() {
        let ready = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let state = ready.clone();
        let check: Check = Arc::new(move || Health {
            ready: state.load(std::sync::atomic::Ordering::Relaxed),
            details: serde_json::json!({ "globalconf": "fresh" }),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_on(listener, Metrics::install(), check, Shutdown::default()));
        let client = Client::new(Duration::from_secs(1), Duration::from_secs(5), &[]);
        let url = |path: &str| format!("http://{address}{path}");
        let health = client.get(&url("/health"), 1000).await.unwrap();
        assert_eq!(health.status, 200);
        assert_eq!(&health.body[..], br#"{"details":{"globalconf":"fresh"},"ready":true}"#);
        ready.store(false, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(client.get(&url("/health"), 1000).await.unwrap().status, 503);
        let metrics = client.get(&url("/metrics"), 1 << 20).await.unwrap();
        assert!(String::from_utf8_lossy(&metrics.body).contains("process_cpu_seconds_total"));
        assert_eq!(client.get(&url("/other"), 1000).await.unwrap().status, 404);
    }
}
