//! Heads of one server's log, sent through an ordinary exchange to a member who keeps them.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use host::shutdown::Shutdown;
use security_server::head_receiver::{self, Receiver};
use security_server::message_log::holders::{self, HeadSettings};
use security_server::message_log::keeper::Keeper;
use security_server::message_log::settings::LogSettings;
use security_server::message_log::timestamper::Timestamping;
use support::client::{ask, rest};
use support::{Options, World, consumer_member, provider, subsystem};
use tokio::net::TcpListener;

fn heads(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for client in std::fs::read_dir(folder).unwrap() {
        let client = client.unwrap().path();
        assert!(client.ends_with("DEV%2FCOM%2F1111%2FCONSUMER"), "{}", client.display());
        found.extend(std::fs::read_dir(client).unwrap().map(|entry| entry.unwrap().path()));
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn another_members_server_keeps_heads_that_bind_the_log() {
    let folder = tempfile::tempdir().unwrap();
    // The port is taken and nobody answers yet: the holder's receiver is down.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let settings = HeadSettings {
        service: Some((subsystem(consumer_member(), "CONSUMER"), provider().service("heads"))),
        ..LogSettings::default().heads
    };
    let options =
        Options { heads: Some(address), consumer_heads: Some(settings.clone()), ..Options::default() };
    let world = World::with(options).await;
    let log = &world.consumer.cx.log;
    let mut keeper = Keeper::new(log, world.clock.clone(), &[]).unwrap().through(Some(world.consumer.http));
    ask(world.consumer.http, &rest("GET", "CONSUMER", "echo/a", "", b"")).await;

    let now = world.clock.now();
    assert_eq!(log.timestamping(), Timestamping::Healthy);
    let error = keeper.deliver(now).await;
    assert!(error.is_ok(), "there is no head yet");
    let error = keeper.sign(now).await.and(keeper.deliver(now).await).unwrap_err().to_string();
    assert!(error.contains("service DEV/GOV/2222/PROVIDER/heads") && error.contains("status 500"), "{error}");
    let known = |log_dir: &Path| holders::progress(log_dir).unwrap().pop_first().unwrap().1;
    let dir = world.consumer.log_dir();
    assert_eq!((known(&dir).failures, known(&dir).waiting), (1, 1));
    keeper.deliver(now).await.unwrap();
    assert_eq!(known(&dir).failures, 1, "it is left alone for a while");

    let listener = TcpListener::bind(address).await.unwrap();
    let receiver = Receiver::new(folder.path(), 100);
    tokio::spawn(head_receiver::serve(listener, receiver, Shutdown::default()));
    let later = now.plus(settings.retry.0);
    keeper.deliver(later).await.unwrap();
    assert_eq!(heads(folder.path()).len(), 1);
    // The exchanges that carried it are in the log, and in the next head.
    ask(world.consumer.http, &rest("GET", "CONSUMER", "echo/b", "", b"")).await;
    let later = later.plus(Duration::from_secs(3600));
    let before = world.records().await;
    keeper.sign(later).await.unwrap();
    keeper.deliver(later).await.unwrap();
    let kept = heads(folder.path());
    assert_eq!(kept.len(), 2);
    assert_eq!((known(&dir).failures, known(&dir).waiting), (0, 0));
    let note = std::fs::read_to_string(&kept[1]).unwrap();
    let text = log.public_key().open(&note).unwrap();
    let head = pki::note::Checkpoint::parse(text).unwrap();
    assert_eq!(head.size, before.0);
    let after = (before.0 + 2, before.1 + 2);
    assert_eq!(world.records().await, after, "the holder's log has the message that brought the head");
}
