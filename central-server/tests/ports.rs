//! A central server started on an empty folder without a PIN: brought up through its management API over TLS, with the ports for management
//! requests beside it.

#![allow(clippy::unwrap_used, reason = "a test: its panic is the report")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use admin_api::auth::ApiKeys;
use admin_api::operation::Role;
use admin_api::tls::{make, pair};
use central_server::Offline;
use host::clock::Clock;
use host::shutdown::Shutdown;
use proto::time::UnixTime;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime as TlsTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Takes whatever certificate a server shows: these are self-signed.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: TlsTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The whole answer to one request over TLS; `None` when the connection does not come about.
async fn send(address: SocketAddr, identity: Option<&admin_api::tls::Pair>, request: &str) -> Option<String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything));
    let config = match identity {
        Some(pair) => builder.with_client_auth_cert(pair.rustls_chain(), pair.rustls_key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    let tcp = TcpStream::connect(address).await.ok()?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes).await;
    (!bytes.is_empty() || read.is_ok())
        .then(|| String::from_utf8_lossy(&bytes).into_owned())
        .filter(|text| !text.is_empty())
}

fn request(line: &str, key: &str, body: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: cs\r\nConnection: close\r\nAuthorization: X-Road-ApiKey token={key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn start(
    dir: &Path,
    clients: Option<&Path>,
) -> (Value, Shutdown, tokio::task::JoinHandle<anyhow::Result<()>>) {
    let any = "127.0.0.1:0";
    let clients =
        clients.map(|path| format!("client-certificates = '{}'\n", path.display())).unwrap_or_default();
    let text = format!(
        "data-dir = '{}'\nhealth-check-listen = 'off'\n[center]\nhttp-listen = '{any}'\nhttps-listen = 'off'\n\
         [management-api]\nlisten = '{any}'\n\
         [management-service]\nregistration-listen = '{any}'\nmanagement-listen = '{any}'\n{clients}",
        dir.display()
    );
    let settings =
        host::settings::parse::<central_server::config::File>(&text, "test").unwrap().resolve().unwrap();
    let (ready, shutdown) = (dir.join("ready.json"), Shutdown::default());
    let _ = std::fs::remove_file(&ready);
    let task = tokio::spawn({
        let (ready, shutdown) = (ready.clone(), shutdown.clone());
        async move { central_server::run(settings, Some(&ready), shutdown).await }
    });
    for _ in 0..400 {
        if let Ok(text) = std::fs::read_to_string(&ready) {
            return (serde_json::from_str(&text).unwrap(), shutdown, task);
        }
        assert!(!task.is_finished(), "it ended: {:?}", task.await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server did not start");
}

fn address(ready: &Value, name: &str) -> SocketAddr {
    ready["listeners"][name].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_folder_becomes_an_instance_through_the_api() {
    let dir = tempfile::tempdir().unwrap();
    let offline = Offline::open(dir.path(), Clock::System).unwrap();
    let keys = ApiKeys::open(&offline.folder("admin").unwrap().join("api-keys")).unwrap();
    let roles = [Role::SystemAdministrator, Role::SecurityOfficer, Role::RegistrationOfficer];
    let key = keys.create(&roles).unwrap().key;
    drop((keys, offline));
    let identity_folder = tempfile::tempdir().unwrap();
    make(identity_folder.path(), "client", "ss0", UnixTime::from_secs(1_800_000_000)).unwrap();
    let client = pair(identity_folder.path(), "client", "ss0", UnixTime(0)).unwrap();
    let known = identity_folder.path().join("client.crt");

    let (ready, shutdown, task) = start(dir.path(), Some(&known)).await;
    let api = address(&ready, "api");
    let status = |answer: Option<String>| answer.map(|text| text[9..12].to_owned()).unwrap_or_default();
    assert_eq!(status(send(api, None, &request("GET /api/v1/tokens", "wrong", "")).await), "401");
    let calls = [
        (
            "POST /api/v1/initialization",
            r#"{"instance_identifier":"DEV","central_server_address":"cs.example","software_token_pin":"Secret1234"}"#,
            "200",
        ),
        ("PUT /api/v1/tokens/0/login", r#"{"password":"Secret1234"}"#, "200"),
        (
            "POST /api/v1/configuration-sources/INTERNAL/signing-keys",
            r#"{"key_label":"i","token_id":0}"#,
            "200",
        ),
        (
            "POST /api/v1/configuration-sources/EXTERNAL/signing-keys",
            r#"{"key_label":"e","token_id":"0"}"#,
            "200",
        ),
        ("POST /api/v1/member-classes", r#"{"code":"COM","description":"Commercial"}"#, "201"),
        (
            "POST /api/v1/members",
            r#"{"member_id":{"member_class":"COM","member_code":"1"},"member_name":"One"}"#,
            "201",
        ),
        (
            "POST /api/v1/subsystems",
            r#"{"subsystem_id":{"member_class":"COM","member_code":"1","subsystem_code":"M"}}"#,
            "201",
        ),
        (
            "PATCH /api/v1/management-services-configuration",
            r#"{"service_provider_id":"DEV:COM:1:M"}"#,
            "200",
        ),
    ];
    for (line, body, expected) in calls {
        let answer = send(api, None, &request(line, &key, body)).await.unwrap();
        assert_eq!(&answer[9..12], expected, "{line}: {answer}");
    }

    let (registration, management) = (address(&ready, "registration"), address(&ready, "management"));
    let post = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: cs\r\nConnection: close\r\nContent-Type: text/xml\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let get = "GET /managementservice HTTP/1.1\r\nHost: cs\r\nConnection: close\r\n\r\n";
    assert_eq!(status(send(registration, None, get).await), "405");
    assert_eq!(status(send(registration, None, &post("/elsewhere")).await), "404");
    let answer = send(registration, None, &post("/managementservice")).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 500") && answer.contains("<faultcode>invalid_request</faultcode>"),
        "{answer}"
    );
    assert_eq!(
        send(management, None, &post("/managementservice/manage/")).await,
        None,
        "no certificate, no answer"
    );
    make(identity_folder.path(), "other", "ss9", UnixTime::from_secs(1_800_000_000)).unwrap();
    let other = pair(identity_folder.path(), "other", "ss9", UnixTime(0)).unwrap();
    assert_eq!(
        send(management, Some(&other), &post("/managementservice/manage/")).await,
        None,
        "another certificate"
    );
    let answer = send(management, Some(&client), &post("/managementservice/manage/")).await.unwrap();
    assert!(answer.contains("<faultcode>invalid_request</faultcode>"), "{answer}");

    // What is published names the certificate of the registration service, and the description is there.
    let http = address(&ready, "http");
    let mut published = String::new();
    for _ in 0..200 {
        published = plain(http, "/internalconf?version=6").await;
        if published.starts_with("HTTP/1.1 200") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(published.starts_with("HTTP/1.1 200"), "{published}");
    let wsdl = plain(http, "/managementservices.wsdl").await;
    assert!(wsdl.contains("https://cs.example:4002/managementservice/manage/"), "{wsdl}");

    // Another certificate is shown, and named, from the moment that it is made.
    let shown =
        || pair(&dir.path().join("tls"), "management-service", "", UnixTime(0)).unwrap().chain.remove(0);
    let before = shown();
    let line = "POST /api/v1/management-services-configuration/certificate";
    assert_eq!(status(send(api, None, &request(line, &key, "")).await), "201");
    for (cert, is_shown) in [(before, false), (shown(), true)] {
        let (connect, total) = (Duration::from_secs(5), Duration::from_secs(20));
        let http = host::http::Client::pinned(connect, total, cert.der().to_vec());
        let url = format!("https://{registration}/managementservice");
        assert_eq!(http.get(&url, 1000).await.is_ok(), is_shown);
    }
    shutdown.stop();
    task.await.unwrap().unwrap();
    let state = Offline::open(dir.path(), Clock::System).unwrap().registry().state();
    let own = pair(&dir.path().join("tls"), "management-service", "", UnixTime(0)).unwrap();
    assert_eq!(state.parameters.auth_cert_reg_cert.as_ref().unwrap().0, own.chain[0].der());
}

async fn plain(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: cs\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn beyond_this_machine_the_management_service_asks_for_a_certificate() {
    let parse = |more: &str| {
        let text = format!("[management-service]\nmanagement-listen = '0.0.0.0:4002'\n{more}");
        host::settings::parse::<central_server::config::File>(&text, "test").unwrap().resolve()
    };
    assert_eq!(parse("").unwrap_err().key, "management-service.management-listen");
    assert!(parse("client-certificates = '/etc/causeway/ss0.pem'").is_ok());
}
