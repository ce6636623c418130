//! The yardstick: the same request through two plain nginx relays, which do what any two TLS endpoints must do and nothing else.
//!
//! ```text
//! load --HTTP--> nginx --TLS 1.3, both sides authenticated, kept open--> nginx --HTTP--> backend
//! ```
//!
//! The load may come over TLS as well, and the connections between the relays may be new ones with resumed sessions: a port for each.
//! Two workers each, no access log, bodies passed on while they come. Started here, in a folder of the run, and ended with it; where
//! there is no nginx the rows have no ratio.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use host::metrics::Process;
use pki::issue::{self, Role, Template};
use pki::key::{KeyKind, PrivateKey};
use pki::pem;
use proto::time::UnixTime;
use tokio::process::{Child, Command};

/// How long nginx may take to listen.
const START: Duration = Duration::from_secs(10);

/// Both relays.
pub(crate) struct Pair {
    /// Where the load goes.
    pub(crate) address: SocketAddr,
    /// Where it goes over TLS.
    pub(crate) tls_address: SocketAddr,
    /// Where each request has a new connection between the relays.
    pub(crate) fresh_address: SocketAddr,
    front: Child,
    back: Child,
}

impl Pair {
    /// Starts both before `backend`; `None` when nginx is not installed.
    pub(crate) async fn start(dir: &Path, backend: SocketAddr) -> anyhow::Result<Option<Self>> {
        let version = Command::new("nginx").arg("-v").output().await;
        if !version.is_ok_and(|done| done.status.success()) {
            eprintln!("skipped: nginx is not installed, so there is nothing to compare with");
            return Ok(None);
        }
        let dir = dir.join("nginx");
        std::fs::create_dir_all(&dir)?;
        for name in ["front", "back"] {
            write_identity(&dir, name)?;
        }
        let addresses = [free_address()?, free_address()?, free_address()?, free_address()?];
        let [address, tls_address, fresh_address, between] = addresses;
        let back = start(
            &dir,
            "back",
            &format!("upstream next {{ server {backend}; keepalive 512; keepalive_requests 100000000; }}"),
            &format!(
                "server {{ listen {between} ssl; ssl_certificate back.crt; ssl_certificate_key back.key; \
                 ssl_protocols TLSv1.3; ssl_client_certificate front.crt; ssl_verify_client on; \
                 location / {{ proxy_pass http://next; }} }}"
            ),
        )?;
        let front = start(
            &dir,
            "front",
            &format!(
                "upstream next {{ server {between}; keepalive 512; keepalive_requests 100000000; }}\n\
                 upstream fresh {{ server {between}; }}"
            ),
            &format!(
                "proxy_ssl_name back; proxy_ssl_certificate front.crt; proxy_ssl_certificate_key front.key; \
                 proxy_ssl_trusted_certificate back.crt; proxy_ssl_verify on; proxy_ssl_protocols TLSv1.3;\n\
                 ssl_certificate front.crt; ssl_certificate_key front.key;\n\
                 server {{ listen {address}; listen {tls_address} ssl; location / {{ proxy_pass https://next; }} }}\n\
                 server {{ listen {fresh_address}; location / {{ proxy_pass https://fresh; }} }}"
            ),
        )?;
        let pair = Self { address, tls_address, fresh_address, front, back };
        for address in addresses {
            wait_for(address).await?;
        }
        Ok(Some(pair))
    }

    /// CPU seconds of both, with their workers.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let pids = [&self.front, &self.back].into_iter().filter_map(Child::id);
        let with_workers = pids.flat_map(|pid| std::iter::once(pid).chain(children(pid)));
        with_workers.filter_map(Process::of).map(|process| process.cpu_seconds).sum()
    }

    /// Ends both and waits until their workers have ended.
    pub(crate) async fn stop(mut self) {
        for child in [&mut self.front, &mut self.back] {
            child.id().into_iter().for_each(terminate);
            let _ = tokio::time::timeout(START, child.wait()).await;
        }
    }
}

/// A part of the run that is given up leaves nobody behind: killing a relay alone would not end its workers.
impl Drop for Pair {
    fn drop(&mut self) {
        for child in [&self.front, &self.back] {
            child.id().into_iter().flat_map(children).for_each(terminate);
        }
    }
}

fn terminate(pid: u32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

fn start(dir: &Path, name: &str, upstream: &str, servers: &str) -> anyhow::Result<Child> {
    let config = format!(
        "daemon off; worker_processes 2; pid {name}.pid; error_log {name}.log crit;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n\
         access_log off; client_max_body_size 0; keepalive_requests 100000000; keepalive_timeout 600s;\n\
         client_body_temp_path {name}-body; proxy_temp_path {name}-proxy; fastcgi_temp_path {name}-f;\n\
         uwsgi_temp_path {name}-u; scgi_temp_path {name}-s;\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_request_buffering off;\n\
         proxy_buffering off; proxy_read_timeout 600s; large_client_header_buffers 8 64k;\n\
         {upstream}\n\
         {servers}\n\
         }}\n"
    );
    let file = dir.join(format!("{name}.conf"));
    std::fs::write(&file, config)?;
    // Where util-linux is there, the kernel ends it with this program, however that ends.
    let tied = std::process::Command::new("setpriv").args(["--pdeathsig", "TERM", "true"]).output();
    let mut command = match tied {
        Ok(done) if done.status.success() => {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "TERM", "nginx"]);
            command
        }
        Ok(_) | Err(_) => Command::new("nginx"),
    };
    let child = command.arg("-p").arg(dir).arg("-c").arg(&file).kill_on_drop(true).spawn();
    child.context("starting nginx")
}

async fn wait_for(address: SocketAddr) -> anyhow::Result<()> {
    let began = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        if began.elapsed() > START {
            bail!("nginx does not listen on {address}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// A port that was free a moment ago.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// A self-signed certificate that the other relay trusts, and its key.
fn write_identity(dir: &Path, name: &str) -> anyhow::Result<()> {
    let key = PrivateKey::generate(KeyKind::Rsa(2048))?;
    let names = [name.to_owned()];
    let template = Template {
        subject: &vec![("2.5.4.3", name.to_owned())],
        role: Role::Tls,
        serial: &[1],
        not_before: UnixTime(0),
        not_after: UnixTime(4_000_000_000_000),
        dns_names: &names,
        addresses: &[],
        ocsp_url: None,
    };
    let cert = issue::self_signed(&template, &key)?;
    std::fs::write(dir.join(format!("{name}.crt")), cert.to_pem())?;
    std::fs::write(dir.join(format!("{name}.key")), pem::encode("PRIVATE KEY", &key.to_pkcs8()))?;
    Ok(())
}

fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
