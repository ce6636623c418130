//! From a folder to a running ecosystem, step by step; each finds out what an earlier start has done.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use admin_api::operation::Role as ApiRole;
use anyhow::{Context, ensure};
use bytes::Bytes;
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
use super::front_door::{self, Joining};
use super::registry::{self, Wanted};
use super::state::State;
use super::{Ecosystem, Filling, Mode, Options, Role, Server, Stage, Trust};
use super::{kept, members, more_members};
use crate::admin::Admin;
use crate::authority::Authority;
use crate::loopback::{CONFIGURATION_PORT, Claim};
use crate::ocsp_responder::OcspResponder;
use crate::parties;
use crate::services::SampleServices;
use crate::tsa::Tsa;

/// Who changes registry and servers.
pub(super) const ACTOR: &str = "sandbox";
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

/// A server's folder.
pub(super) fn files_of(dir: &Path, server: &Server) -> Files {
    match server.role {
        Role::CentralServer => Files::new(dir, central_server::ROLE),
        Role::SecurityServer | Role::Signer => {
            Files::new(dir, server.id.rsplit('/').next().unwrap_or_default())
        }
    }
}

/// The management API of a server that runs.
pub(super) fn admin(server: &Server, files: &Files) -> anyhow::Result<Admin> {
    let path = files.api_key();
    let key = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let url = server.admin_url().with_context(|| format!("{} has no management API", server.id))?;
    Admin::new(&server.id, url, &files.data(), key.trim().to_owned())
}

/// What both ways build upon.
pub(super) struct Ground {
    pub(super) dir: PathBuf,
    pub(super) state: State,
    pub(super) central: Files,
    /// The consumer's and the provider's.
    pub(super) members: [Files; 2],
    /// The same, then the central server's.
    pub(super) claims: [Claim; 3],
    pub(super) lock: DataDir,
}

impl Ground {
    async fn lay(dir: &Path) -> anyhow::Result<Self> {
        let lock = DataDir::open(dir, "sandbox", FORMAT)?;
        let dir = dir.canonicalize()?;
        let central = Files::new(&dir, central_server::ROLE);
        let members = [consumer_files(&dir), Files::new(&dir, &parties::provider_server().code)];
        for (files, role) in [(&central, Role::CentralServer)]
            .into_iter()
            .chain(members.iter().map(|files| (files, Role::SecurityServer)))
        {
            std::fs::create_dir_all(&files.folder)?;
            predecessor_gone(files, role).await?;
        }
        let mut state = State::load(&dir)?;
        let claims = Claim::take_all([state.consumer, state.provider, state.central])?;
        let [consumer, provider, at] = claims.each_ref().map(|claim| Some(claim.v4()));
        (state.consumer, state.provider, state.central) = (consumer, provider, at);
        Ok(Self { dir, state, central, members, claims, lock })
    }

    /// Where the central server publishes.
    pub(super) fn central_address(&mut self) -> anyhow::Result<SocketAddr> {
        if self.state.central_port == 0 {
            self.state.central_port = CONFIGURATION_PORT;
        }
        free_address(self.claims[2].v4(), &mut self.state.central_port)
    }

    pub(super) fn address(&self, member: usize) -> IpAddr {
        self.claims[member].address()
    }
}

/// See [`Ecosystem::build`].
pub(super) async fn build(
    dir: &Path,
    options: Options,
    stage: impl FnMut(Stage),
) -> anyhow::Result<Ecosystem> {
    let ground = Ground::lay(dir).await?;
    match options.filling {
        Filling::Offline => offline(ground, options, stage).await,
        Filling::FrontDoor => by_front_door(ground, options, stage).await,
    }
}

async fn offline(
    mut ground: Ground,
    options: Options,
    mut stage: impl FnMut(Stage),
) -> anyhow::Result<Ecosystem> {
    stage(Stage::Trust);
    let trust = Trust::start(&ground.dir, &mut ground.state, options.keys).await?;
    let central_address = ground.central_address()?;
    ground.state.save(&ground.dir)?;
    let addresses = [ground.address(0), ground.address(1)];
    let authority = trust.authority.clone();
    // Signing keys of the configuration are made beside those of the members.
    let signing_keys = {
        let files = ground.central.clone();
        spawn_blocking(move || prepare_central(&files, central_address, options.keys))
    };
    let member_files = ground.members.clone();
    let members =
        spawn_blocking(move || make_members(member_files, addresses, &authority, options.keys)).await??;
    signing_keys.await??;

    stage(Stage::Central);
    let wanted = trust.wanted(
        members
            .each_ref()
            .map(|member| (member.id.clone(), member.address.to_string(), Some(member.certificate.clone()))),
    );
    let anchor = {
        let files = ground.central.clone();
        spawn_blocking(move || fill_registry(&files, &wanted, options.more_members)).await??
    };
    let central =
        start_with_key(&options.mode, Role::CentralServer, parties::INSTANCE, &ground.central).await?;

    stage(Stage::SecurityServers);
    for member in &members {
        configure(member, &anchor, &trust, &options).await?;
    }
    let signers = if options.signers { start_signers(&ground.dir, &options.mode).await? } else { Vec::new() };
    let start = |member: &Member| {
        let (mode, id, files) = (options.mode.clone(), member.id.short(), member.files.clone());
        async move {
            let server = Server::start(&mode, Role::SecurityServer, &id, &files).await?;
            server.has_present_configuration().await?;
            anyhow::Ok(server)
        }
    };
    let (consumer, provider) = tokio::try_join!(start(&members[0]), start(&members[1]))?;
    let Ground { dir, claims, lock, .. } = ground;
    let mode = options.mode;
    Ok(Ecosystem { dir, mode, signers, central, consumer, provider, trust, _claims: claims, _lock: lock })
}

async fn by_front_door(
    mut ground: Ground,
    options: Options,
    mut stage: impl FnMut(Stage),
) -> anyhow::Result<Ecosystem> {
    let plain = options.services.is_empty() && options.clients.is_empty() && !options.signers;
    let plain = plain && options.more_members == 0;
    ensure!(plain, "signers, further services, clients and members need servers that are filled offline");
    let kept = ground.state.clone();
    if !kept.complete {
        forget_servers(&ground)?;
    }
    stage(Stage::Trust);
    let trust = Trust::start(&ground.dir, &mut ground.state, options.keys).await?;
    let central_address = ground.central_address()?;
    ground.state.save(&ground.dir)?;

    stage(Stage::Central);
    write_settings(&ground.central, &files::central_server_settings(&ground.central, central_address))?;
    let anchor =
        if kept.complete { Some(kept::registry(&ground, central_address, &trust).await?) } else { None };
    let central = start_with_key(&options.mode, Role::CentralServer, parties::INSTANCE, &ground.central);
    let central = central.await?;
    let cs = admin(&central, &ground.central)?;
    let anchor = match anchor {
        Some(anchor) => anchor,
        None => front_door::central(&cs, &central_address.to_string(), &trust).await?,
    };

    stage(Stage::SecurityServers);
    for (files, claim) in ground.members.iter().zip(&ground.claims) {
        let mut settings = files::security_server_settings(files, claim.address());
        settings.message_log.segment_size = options.log_segment_bytes;
        write_settings(files, &settings)?;
        if kept.complete {
            members::write(&files.data().join(security_server::config::ANCHOR_FILE), &anchor)?;
        }
    }
    let ids = [parties::consumer_server(), parties::provider_server()].map(|id| id.short());
    let start = |index: usize| {
        start_with_key(&options.mode, Role::SecurityServer, &ids[index], &ground.members[index])
    };
    let (mut consumer, mut provider) = tokio::try_join!(start(0), start(1))?;
    let [at_consumer, at_provider] =
        [admin(&consumer, &ground.members[0])?, admin(&provider, &ground.members[1])?];
    if kept.complete {
        kept::services(&at_provider, &kept, &trust).await?;
        for ss in [&at_consumer, &at_provider] {
            kept::timestamping(ss, &trust).await?;
        }
    } else {
        join(&ground, [&at_consumer, &at_provider], &cs, &trust, anchor).await?;
        for files in ground.members.iter().chain([&ground.central]) {
            // From the next start on they log in by themselves.
            members::write(&files.pin(), PIN.as_bytes())?;
        }
        ground.state.complete = true;
        ground.state.save(&ground.dir)?;
    }
    tokio::try_join!(consumer.relays(), provider.relays())?;
    if kept.complete {
        tokio::try_join!(consumer.has_present_configuration(), provider.has_present_configuration())?;
    } else {
        let [at_consumer, at_provider] = &ground.members;
        tokio::try_join!(knows_the_school(&consumer, at_consumer), knows_the_school(&provider, at_provider))?;
    }
    let Ground { dir, claims, lock, .. } = ground;
    let (mode, signers) = (options.mode, Vec::new());
    Ok(Ecosystem { dir, mode, signers, central, consumer, provider, trust, _claims: claims, _lock: lock })
}

/// Everything that was begun in a bring-up that was not finished: nobody has used it yet.
fn forget_servers(ground: &Ground) -> anyhow::Result<()> {
    for files in ground.members.iter().chain([&ground.central]) {
        std::fs::remove_dir_all(&files.folder).with_context(|| files.folder.display().to_string())?;
        std::fs::create_dir_all(&files.folder).with_context(|| files.folder.display().to_string())?;
    }
    Ok(())
}

async fn start_with_key(mode: &Mode, role: Role, id: &str, files: &Files) -> anyhow::Result<Server> {
    let roles = match role {
        Role::CentralServer => {
            &[ApiRole::SecurityOfficer, ApiRole::RegistrationOfficer, ApiRole::SystemAdministrator][..]
        }
        Role::SecurityServer | Role::Signer => &[
            ApiRole::SecurityOfficer,
            ApiRole::RegistrationOfficer,
            ApiRole::ServiceAdministrator,
            ApiRole::SystemAdministrator,
            ApiRole::Observer,
        ][..],
    };
    let (file, data) = (files.api_key(), files.data());
    spawn_blocking(move || crate::admin::key(&file, &data, role.name(), role.format(), roles)).await??;
    Server::start(mode, role, id, files).await
}

/// Both security servers join, the provider's first, since it offers the management services; then their clients and services.
async fn join(
    ground: &Ground,
    [consumer, provider]: [&Admin; 2],
    cs: &Admin,
    trust: &Trust,
    anchor: Bytes,
) -> anyhow::Result<()> {
    let addresses = [ground.address(0).to_string(), ground.address(1).to_string()];
    let ids = [parties::consumer_server(), parties::provider_server()];
    let [consumer, provider] = [(consumer, 0), (provider, 1)].map(|(ss, index)| Joining {
        ss,
        cs,
        trust,
        server: &ids[index],
        address: &addresses[index],
    });
    let (consumers, providers) = tokio::try_join!(consumer.enter(anchor.clone()), provider.enter(anchor))?;
    provider.register(&providers).await?;
    front_door::management_services(&provider).await?;
    consumer.register(&consumers).await?;
    // Sees the consumer's server in the configuration by which it is registered itself, so that the next message gets through.
    provider.client(&parties::population(), "HTTP", false).await?;
    let (school, services) = (parties::school(), front_door::offer(provider.ss, &trust.services));
    tokio::try_join!(services, consumer.client(&school, "HTTP", false))?;
    Ok(())
}

/// Waits until a security server has a configuration by which the school asks through the consumer's server: it is stored, and was taken
/// into use in the run that stored it or the next.
async fn knows_the_school(server: &Server, files: &Files) -> anyhow::Result<()> {
    let folder = files.data().join("globalconf");
    let (school, at) = (parties::school(), parties::consumer_server());
    let known = async {
        while !pki::globalconf::load_directory(&folder).is_ok_and(|conf| conf.is_client_of(&school, &at)) {
            tokio::time::sleep(POLL).await;
        }
        server.downloads_again().await
    };
    let limited = tokio::time::timeout(PREDECESSOR * 3, known).await;
    limited.with_context(|| format!("{} does not learn who the school is", server.id))?
}

impl Trust {
    async fn start(dir: &Path, state: &mut State, keys: KeyKind) -> anyhow::Result<Self> {
        let clock = Clock::System;
        let local = Ipv4Addr::LOCALHOST;
        let ocsp_address = free_address(local, &mut state.ocsp_port)?;
        let authority = {
            let (dir, now) = (dir.join("trust"), clock.now());
            let url = format!("http://{ocsp_address}/ocsp");
            Arc::new(spawn_blocking(move || Authority::open(&dir, keys, &url, now)).await??)
        };
        let ocsp = OcspResponder::start(ocsp_address, authority.clone(), clock.clone()).await?;
        let tsa = Tsa::start(free_address(local, &mut state.tsa_port)?, authority.clone(), clock).await?;
        let services = SampleServices::start(free_address(local, &mut state.services_port)?).await?;
        Ok(Self { authority, ocsp, tsa, services })
    }

    /// What the registry must hold, with these servers: address, and certificate unless it was registered by request.
    pub(super) fn wanted(&self, servers: [(ServerId, String, Option<Certificate>); 2]) -> Wanted {
        let client = |id: &ServerId| {
            if id.owner == parties::rannala() { parties::school() } else { parties::population() }
        };
        Wanted {
            servers: servers.map(|(id, address, cert)| (id.clone(), address, cert, client(&id))),
            root: self.authority.root().clone(),
            intermediate: self.authority.intermediate().clone(),
            ocsp_url: self.ocsp.url(),
            tsa: self.authority.tsa().cert.clone(),
            tsa_url: self.tsa.url(),
        }
    }
}

/// `port` at an address of loopback if it is free, else a free one, which is noted. Whoever binds it next must be quick; nobody else asks
/// for it.
fn free_address(at: Ipv4Addr, port: &mut u16) -> anyhow::Result<SocketAddr> {
    let bind = |port| TcpListener::bind((at, port));
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
fn fill_registry(files: &Files, wanted: &Wanted, more_members: u32) -> anyhow::Result<Vec<u8>> {
    let offline = Offline::open(&files.data(), Clock::System)?;
    let missing = wanted.missing(&offline.registry().state());
    offline.execute_all(ACTOR, missing)?;
    let more = more_members::missing(&offline.registry().state(), more_members)?;
    offline.execute_all(ACTOR, more)?;
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

/// Of a security server that does not run.
pub(super) fn change_settings(
    files: &Files,
    change: impl FnOnce(&mut security_server::config::File),
) -> anyhow::Result<()> {
    let mut settings: security_server::config::File = host::settings::load(&files.settings())?;
    change(&mut settings);
    write_settings(files, &settings)
}

fn write_settings(files: &Files, settings: &impl Serialize) -> anyhow::Result<()> {
    members::write(&files.settings(), toml::to_string(settings)?.as_bytes())
}
