//! What large registries cost: `cargo run --release -p benches -- registry`.
//!
//! For each size a configuration of so many members, each with two subsystems, on a tenth as many servers is written to a file, read and
//! built as a server does it; then what the snapshot takes in memory, and the time of the lookups that every exchange makes. What a
//! server takes while it downloads and builds is in `relay --row registry`.

use std::fs::File;
use std::hint::black_box;
use std::io::{Seek, Write};
use std::sync::Arc;
use std::time::Instant;

use pki::digest::DigestAlgorithm;
use pki::globalconf::{Builder, GlobalConf, Instance};
use proto::globalconf::shared_parameters::{Member, SecurityServer, SharedParameters, Source};
use proto::id::{ClientId, MemberId, ServerId};
use serde::Serialize;

use crate::report::round;

/// Version of the configuration's form.
const VERSION: u32 = 6;
const SUBSYSTEMS: [&str; 2] = ["population-register", "school-office"];
const LOOKUPS: u32 = 200_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Members of the largest registry; a tenth and a hundredth of it are measured as well.
    #[arg(long, default_value_t = 100_000)]
    members: u32,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    members: u32,
    servers: u32,
    document_mib: f64,
    read_and_build_seconds: f64,
    /// What one snapshot takes, by its own accounts.
    snapshot_mib: f64,
    /// A provider's servers, and whether a client is known and of a server: what every exchange asks.
    lookup_ns: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for members in [args.members / 100, args.members / 10, args.members] {
        if members >= 10 {
            rows.push(measure(members)?);
        }
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &rows)?;
        return Ok(());
    }
    writeln!(
        out,
        "{:>9} {:>9} {:>10} {:>12} {:>13} {:>10}",
        "members", "servers", "MiB", "s to build", "snapshot MiB", "lookup ns"
    )?;
    for Row { members, servers, document_mib, read_and_build_seconds, snapshot_mib, lookup_ns } in rows {
        writeln!(
            out,
            "{members:>9} {servers:>9} {document_mib:>10.1} {read_and_build_seconds:>12.3} {snapshot_mib:>13.1} {lookup_ns:>10.0}"
        )?;
    }
    Ok(())
}

/// Nanoseconds of those lookups with so many members each.
///
/// # Errors
/// A configuration cannot be built.
pub(crate) fn lookups_at(sizes: [u32; 3]) -> anyhow::Result<Vec<f64>> {
    sizes.into_iter().map(|members| Ok(round(measure(members.max(10))?.lookup_ns, 0))).collect()
}

fn measure(members: u32) -> anyhow::Result<Row> {
    let servers = members / 10;
    let mut file = document(members, servers)?;
    let document_mib = mib(file.metadata()?.len());
    let began = Instant::now();
    let instance = Instance::read_from(&mut file, VERSION)?;
    let conf = Builder::new("XX").instance(Arc::new(instance), None).build()?;
    let read_and_build_seconds = began.elapsed().as_secs_f64();
    let snapshot_mib = conf.shared("XX").map_or(0.0, |(instance, _)| mib(instance.heap_bytes() as u64));
    let lookup_ns = lookups(&conf, members)?;
    Ok(Row { members, servers, document_mib, read_and_build_seconds, snapshot_mib, lookup_ns })
}

fn document(members: u32, servers: u32) -> anyhow::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(&parameters(members, servers).write(VERSION)?)?;
    file.rewind()?;
    Ok(file)
}

fn lookups(conf: &GlobalConf, members: u32) -> anyhow::Result<f64> {
    // Made before, so that only the lookup is measured.
    let asked: Vec<ClientId> = (0..LOOKUPS.min(members))
        .map(|number| member(number.wrapping_mul(7_919) % members).subsystem(SUBSYSTEMS[number as usize % 2]))
        .collect();
    let began = Instant::now();
    for client in asked.iter().cycle().take(LOOKUPS as usize) {
        let found = conf.providers(black_box(client));
        anyhow::ensure!(found.len() == 1 && conf.is_known(client), "{client} was not found");
    }
    Ok(began.elapsed().as_nanos() as f64 / f64::from(LOOKUPS))
}

fn parameters(members: u32, servers: u32) -> SharedParameters {
    let clients = |server: u32| {
        let here = server * 10..server * 10 + 10;
        here.flat_map(|number| SUBSYSTEMS.map(|code| member(number).subsystem(code))).collect()
    };
    SharedParameters {
        instance: "XX".into(),
        sources: vec![Source::default()],
        members: (0..members)
            .map(|number| Member {
                id: member(number),
                class_description: "Government".into(),
                name: format!("Member {number}"),
                subsystems: SUBSYSTEMS.iter().map(|code| ((*code).to_owned(), None)).collect(),
            })
            .collect(),
        servers: (0..servers)
            .map(|number| SecurityServer {
                id: ServerId { owner: member(number), code: format!("ss-{number}") },
                address: Some(format!("ss{number}.example.org")),
                auth_cert_hashes: vec![DigestAlgorithm::Sha256.digest(&number.to_be_bytes()).value],
                clients: clients(number),
                maintenance: None,
            })
            .collect(),
        ocsp_freshness_seconds: 3600,
        ..SharedParameters::default()
    }
}

fn member(number: u32) -> MemberId {
    MemberId::new("XX", "GOV", format!("1000{number}-7"))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
