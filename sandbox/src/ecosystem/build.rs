//! From a folder to a running ecosystem, step by step; each finds out what an earlier start has done.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use central_server::Offline;
use central_server::registry::SourceKind;
use host::clock::Clock;
use host::data_dir::{DataDir, DataDirError};
use pki::cert::Certificate;
use pki::key::KeyKind;
use proto::id::ServerId;
use security_server::apply;
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::files::{self, Description, Files, PIN};
use super::members;
use super::registry::{self, Wanted};
use super::state::State;
use super::{Ecosystem, Mode, Options, Role, Server, Stage, Trust};
use crate::authority::Authority;
use crate::loopback::Claim;
use crate::ocsp_responder::OcspResponder;
use crate::parties;
use crate::services::SampleServices;
use crate::tsa::Tsa;

/// Who changes registry and servers.
const ACTOR: &str = "sandbox";
/// Format of the folder.
const FORMAT: u32 = 1;
/// For servers of a killed run to be gone: the kernel ends them with their parent.
const PREDECESSOR: Duration = Duration::from_secs(10);
/// Between two looks.
const POLL: Duration = Duration::from_millis(10);

/// One security server before it runs.
struct Member {
    id: ServerId,
    files: Files,
    address: IpAddr,
    certificate: Certificate,
}

/// The consumer's folder.
pub(super) fn consumer_files(dir: &Path) -> Files {
    Files::new(dir, &parties::consumer_server().code)
}

/// See [`Ecosystem::build`].
pub(super) async fn build(
    dir: &Path,
    options: Options,
    mut stage: impl FnMut(Stage),
) -> anyhow::Result<Ecosystem> {
    let lock = DataDir::open(dir, "sandbox", FORMAT)?;
    let dir = dir.canonicalize()?;
    let central_files = Files::new(&dir, central_server::ROLE);
    let member_files = [consumer_files(&dir), Files::new(&dir, &parties::provider_server().code)];
    for (files, role) in [(&central_files, Role::CentralServer)]
        .into_iter()
        .chain(member_files.iter().map(|files| (files, Role::SecurityServer)))
    {
        std::fs::create_dir_all(&files.folder)?;
        predecessor_gone(files, role).await?;
    }
    let mut state = State::load(&dir)?;
    let claims = Claim::take_all([state.consumer, state.provider])?;
    (state.consumer, state.provider) = (Some(claims[0].v4()), Some(claims[1].v4()));

    stage(Stage::Trust);
    let trust = Trust::start(&dir, &mut state, options.keys).await?;
    let central_address = free_address(&mut state.central_port)?;
    state.save(&dir)?;
    let addresses = claims.each_ref().map(Claim::address);
    let authority = trust.authority.clone();
    // Signing keys of the configuration are made beside those of the members.
    let signing_keys = {
        let files = central_files.clone();
        spawn_blocking(move || prepare_central(&files, central_address, options.keys))
    };
    let members =
        spawn_blocking(move || make_members(member_files, addresses, &authority, options.keys)).await??;
    signing_keys.await??;

    stage(Stage::Central);
    let wanted = Wanted {
        servers: members.each_ref().map(|member| {
            let client =
                if member.id.owner == parties::rannala() { parties::school() } else { parties::population() };
            (member.id.clone(), member.address.to_string(), member.certificate.clone(), client)
        }),
        root: trust.authority.root().clone(),
        intermediate: trust.authority.intermediate().clone(),
        ocsp_url: trust.ocsp.url(),
        tsa: trust.authority.tsa().cert.clone(),
        tsa_url: trust.tsa.url(),
    };
    let anchor = {
        let files = central_files.clone();
        spawn_blocking(move || fill_registry(&files, &wanted)).await??
    };
    let central =
        Server::start(&options.mode, Role::CentralServer, parties::INSTANCE, &central_files).await?;

    stage(Stage::SecurityServers);
    for member in &members {
        configure(member, &anchor, &trust, &options).await?;
    }
    let signers = if options.signers { start_signers(&dir, &options.mode).await? } else { Vec::new() };
    let start = |member: &Member| {
        let (mode, id, files) = (options.mode.clone(), member.id.short(), member.files.clone());
        async move {
            let server = Server::start(&mode, Role::SecurityServer, &id, &files).await?;
            server.has_present_configuration().await?;
            anyhow::Ok(server)
        }
    };
    let (consumer, provider) = tokio::try_join!(start(&members[0]), start(&members[1]))?;
    let mode = options.mode;
    Ok(Ecosystem { dir, mode, signers, central, consumer, provider, trust, _claims: claims, _lock: lock })
}

impl Trust {
    async fn start(dir: &Path, state: &mut State, keys: KeyKind) -> anyhow::Result<Self> {
        let clock = Clock::System;
        let ocsp_address = free_address(&mut state.ocsp_port)?;
        let authority = {
            let (dir, now) = (dir.join("trust"), clock.now());
            let url = format!("http://{ocsp_address}/ocsp");
            Arc::new(spawn_blocking(move || Authority::open(&dir, keys, &url, now)).await??)
        };
        let ocsp = OcspResponder::start(ocsp_address, authority.clone(), clock.clone()).await?;
        let tsa = Tsa::start(free_address(&mut state.tsa_port)?, authority.clone(), clock).await?;
        let services = SampleServices::start(free_address(&mut state.services_port)?).await?;
        Ok(Self { authority, ocsp, tsa, services })
    }
}

/// `port` on loopback if it is free, else a free one, which is noted. Whoever binds it next must be quick; nobody else asks for it.
fn free_address(port: &mut u16) -> anyhow::Result<SocketAddr> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let address = bind(*port).or_else(|_| bind(0))?.local_addr()?;
    *port = address.port();
    Ok(address)
}

/// Waits until nobody has the data directory any more: servers of a run that was killed.
async fn predecessor_gone(files: &Files, role: Role) -> anyhow::Result<()> {
    let began = Instant::now();
    while files.data().exists() {
        match DataDir::open(&files.data(), role.name(), role.format()) {
            Err(DataDirError::Locked { .. }) if began.elapsed() < PREDECESSOR => {
                tokio::time::sleep(POLL).await
            }
            other => {
                other?;
                break;
            }
        }
    }
    Ok(())
}

/// Blocks.
fn make_members(
    files: [Files; 2],
    addresses: [IpAddr; 2],
    authority: &Authority,
    keys: KeyKind,
) -> anyhow::Result<[Member; 2]> {
    let now = Clock::System.now();
    let ids = [parties::consumer_server(), parties::provider_server()];
    let make = |files: &Files, id: &ServerId, address: IpAddr| {
        members::certificates(files, id, &address.to_string(), authority, keys, now)
    };
    let [first, second] = std::thread::scope(|scope| {
        let other = scope.spawn(|| make(&files[1], &ids[1], addresses[1]));
        let first = make(&files[0], &ids[0], addresses[0]);
        [first, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
    });
    let ([files_0, files_1], [id_0, id_1]) = (files, ids);
    Ok([
        Member { id: id_0, files: files_0, address: addresses[0], certificate: first? },
        Member { id: id_1, files: files_1, address: addresses[1], certificate: second? },
    ])
}

/// Settings, PIN, registry with its name and its signing keys. Blocks.
fn prepare_central(files: &Files, address: SocketAddr, keys: KeyKind) -> anyhow::Result<()> {
    members::write(&files.pin(), PIN.as_bytes())?;
    write_settings(files, &files::central_server_settings(files, address))?;
    let offline = Offline::open(&files.data(), Clock::System)?;
    let commands = registry::instance(&offline.registry().state(), address.to_string());
    offline.execute_all(ACTOR, commands)?;
    offline.ensure_signing_keys(ACTOR, PIN, keys)?;
    Ok(())
}

/// Brings the registry up to date; gives the anchor. Blocks.
fn fill_registry(files: &Files, wanted: &Wanted) -> anyhow::Result<Vec<u8>> {
    let offline = Offline::open(&files.data(), Clock::System)?;
    let missing = wanted.missing(&offline.registry().state());
    offline.execute_all(ACTOR, missing)?;
    Ok(offline.anchor(SourceKind::Internal)?)
}

/// Writes what an operator would write, and applies it.
async fn configure(member: &Member, anchor: &[u8], trust: &Trust, options: &Options) -> anyhow::Result<()> {
    let files = &member.files;
    let mut settings = files::security_server_settings(files, member.address);
    settings.message_log.segment_size = options.log_segment_bytes;
    settings.signer.socket = options.signers.then(|| files.signer_socket());
    write_settings(files, &settings)?;
    members::write(&files.anchor(), anchor)?;
    let mut clients = Vec::new();
    if member.id.owner == parties::rannala() {
        clients.push(files::school());
        clients.extend_from_slice(&options.clients);
    } else {
        clients.push(files::population(&trust.services, &options.services));
    }
    let description =
        Description { server: &member.id, address: member.address, clients, tsa_url: trust.tsa.url() };
    members::write(&files.description(), description.yaml().as_bytes())?;
    let apply = apply::Options {
        file: files.description(),
        data_dir: files.data(),
        target: None,
        prune: true,
        dry_run: false,
    };
    let applied = spawn_blocking(move || apply::run(&apply, ACTOR, Clock::System.now())).await?;
    applied.with_context(|| member.id.short())?;
    Ok(())
}

/// The signers of both security servers, whose tokens are where the servers would have them.
pub(super) async fn start_signers(dir: &Path, mode: &Mode) -> anyhow::Result<Vec<Server>> {
    let mut signers = Vec::new();
    for id in [parties::consumer_server(), parties::provider_server()] {
        let server = Files::new(dir, &id.code);
        let files = Files::new(&server.folder, "signer");
        std::fs::create_dir_all(&files.folder)?;
        let settings = signer::remote::daemon::File {
            key_dir: server.data().join("keys"),
            socket: server.signer_socket(),
            pin_file: Some(server.pin()),
            ..Default::default()
        };
        write_settings(&files, &settings)?;
        signers.push(Server::start(mode, Role::Signer, &format!("{} signer", id.short()), &files).await?);
    }
    Ok(signers)
}

fn write_settings(files: &Files, settings: &impl Serialize) -> anyhow::Result<()> {
    members::write(&files.settings(), toml::to_string(settings)?.as_bytes())
}
