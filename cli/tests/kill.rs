//! Two servers that are killed under load: what the consumer's information system was told is on record with both, whole and verifiable.
//!
//! `CAUSEWAY_SLOW=1` kills a hundred times instead of twice. A log that is killed by itself, hundreds of times: `message_log::tests::crash`.
#![cfg(feature = "sandbox")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pki::asic;
use pki::globalconf::load_directory;
use pki::key::KeyKind;
use proto::id::ClientId;
use sandbox::ecosystem::{Ecosystem, Mode, Options};
use sandbox::information_system::{Call, InformationSystem, Message};
use sandbox::parties;
use security_server::message_log::Direction;
use security_server::message_log::crypt::Keys;
use security_server::message_log::offline::Offline;

/// Exchanges on their way at the same time.
const AT_ONCE: usize = 8;
/// Exchanges whose containers are verified at the end.
const VERIFIED: usize = 40;

async fn started(dir: &Path) -> Ecosystem {
    let program = env!("CARGO_BIN_EXE_causeway").into();
    let options = Options { mode: Mode::Processes { program }, keys: KeyKind::P256, ..Options::default() };
    Ecosystem::build(dir, options, |_| {}).await.expect("the servers start")
}

/// Exchanges until the servers are killed; ids of those that were answered by the service.
async fn under_load(ecosystem: &Ecosystem, pause: Duration, killed: &[u32]) -> BTreeSet<String> {
    let (answered, over) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (system, answered, over) = (ecosystem.information_system(), answered.clone(), over.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let (service, path) = (parties::register(), "/residents/M-2019-0502");
                    let call = Call::rest(&parties::school(), &service, hyper::Method::GET, path, None);
                    let Ok(answer) = system.send(&call).await else { continue };
                    if answer.status.is_success() {
                        answered.lock().expect("nobody panics with it").insert(call.message_id);
                    }
                }
            })
        })
        .collect();
    while answered.lock().expect("nobody panics with it").is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(pause).await;
    for pid in killed {
        assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs").success());
    }
    over.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.expect("no task panics");
    }
    Arc::into_inner(answered).expect("all tasks have ended").into_inner().expect("nobody panicked with it")
}

/// Which messages of each exchange a log holds, all of them whole.
fn on_record(log: &Path) -> BTreeMap<String, BTreeSet<Direction>> {
    let offline = Offline::open(log, Keys::default()).expect("the log opens");
    assert_eq!(offline.verify(None).expect("it reads").damage, [], "{}", log.display());
    let mut found = BTreeMap::<_, BTreeSet<_>>::new();
    for line in offline.by_segment().expect("it reads").into_iter().flatten() {
        let record = offline.read(&line).expect("a whole record");
        assert!(!record.signature.is_empty() && !record.parts.is_empty());
        found.entry(line.message_id).or_default().insert(line.direction);
    }
    found
}

async fn verify(system: &InformationSystem, client: &ClientId, id: &str, conf: &Path) {
    let conf = load_directory(conf).expect("the configuration is there");
    for message in [Message::Request, Message::Response] {
        let container = system.container(client, id, message).await.expect("an answer");
        assert!(container.status.is_success(), "{id}: {}", container.status);
        asic::verify(Cursor::new(&container.body[..]), &conf).unwrap_or_else(|error| panic!("{id}: {error}"));
    }
}

#[test]
fn what_was_answered_is_on_record_with_both_servers_after_a_kill() {
    let rounds = if std::env::var_os("CAUSEWAY_SLOW").is_some() { 100 } else { 2 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let logs = ["ss-rannala", "ss-metsola"].map(|server| dir.path().join(server).join("data/log"));
    let both: BTreeSet<_> = [Direction::Request, Direction::Response].into();
    let mut all = Vec::new();
    runtime.block_on(async {
        for round in 0..rounds {
            let ecosystem = started(dir.path()).await;
            let (consumer, provider) = (ecosystem.consumer().pid, ecosystem.provider().pid);
            let killed = [vec![consumer, provider], vec![provider], vec![consumer]];
            let pause = Duration::from_millis((round * 7919) % 700);
            let answered = under_load(&ecosystem, pause, &killed[round as usize % 3]).await;
            // Whatever still runs is killed as well.
            drop(ecosystem);
            for log in &logs {
                let found = on_record(log);
                for id in &answered {
                    assert_eq!(found.get(id), Some(&both), "round {round}, {}: {id}", log.display());
                }
            }
            all.extend(answered);
        }
        let ecosystem = started(dir.path()).await;
        let (system, conf) = (ecosystem.information_system(), ecosystem.consumer_globalconf());
        let other = InformationSystem::new(&format!("http://{}", ecosystem.provider().address));
        for id in all.iter().rev().take(VERIFIED) {
            verify(&system, &parties::school(), id, &conf).await;
            verify(&other, &parties::population(), id, &conf).await;
        }
    });
    println!("{rounds} kills, {} answered exchanges on record with both", all.len());
}
