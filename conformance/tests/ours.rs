//! The cases against our own servers, in both roles: all hold, or are listed here with the reason.

use std::net::SocketAddr;

use conformance::config::{Id, Known, Settings};
use conformance::information_system::InformationSystem;
use conformance::report::{self, Tally};
use conformance::run::{Runner, Verdict};
use conformance::services;
use pki::key::KeyKind;
use sandbox::ecosystem::{Ecosystem, Options};
use sandbox::parties;
use serde_json::{Value, json};

/// Where ours differs from what a case asks for, and why.
const KNOWN: &[(&str, &str)] = &[];

/// A service as `causeway apply` reads it.
fn described(service: &services::Service, client: &str) -> Value {
    let access = |right: bool| if right { json!([client]) } else { json!([]) };
    let endpoint =
        |(method, path): &(&str, &str)| json!({ "method": method, "path": path, "access": [client] });
    let endpoints: Vec<_> = service.endpoints.iter().map(endpoint).collect();
    let mut value = json!({
        "type": service.kind,
        "code": service.code,
        "url": service.url,
        "access": access(service.whole),
        "endpoints": endpoints,
        "enabled": service.enabled,
    });
    if let Some(version) = service.version {
        value["version"] = version.into();
    }
    if let Some(url) = &service.service_url {
        value["service-url"] = url.as_str().into();
    }
    if !service.enabled {
        value["notice"] = services::NOTICE.into();
    }
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn our_servers_conform() {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let system = InformationSystem::start(any).expect("a free port");
    let base = format!("http://{}", system.address());
    let client = parties::school();
    let described: Vec<_> =
        services::all(&base).iter().map(|service| described(service, &client.encoded())).collect();
    let dir = tempfile::tempdir().expect("a folder");
    // The private keys are in processes of their own too, so that every signature here comes from there.
    let stranger = json!({ "id": parties::rannala().encoded(), "connection": "HTTP" });
    let options = Options {
        keys: KeyKind::P256,
        services: described,
        clients: vec![stranger],
        signers: true,
        ..Options::default()
    };
    let ecosystem = Ecosystem::build(dir.path(), options, |_| {}).await.expect("an ecosystem");
    let id = |text: String| Id(text.split('/').map(str::to_owned).collect());
    let settings = Settings {
        consumer: ecosystem.consumer().address.to_string(),
        client: id("DEMO/MUN/2001/school".to_owned()),
        stranger: Some(id("DEMO/MUN/2001".to_owned())),
        provider: id("DEMO/MUN/1001/population".to_owned()),
        provider_server: id("DEMO/MUN/1001/ss-metsola".to_owned()),
        listen: system.address(),
        listen_url: base,
        known: KNOWN
            .iter()
            .map(|(case, reason)| Known { case: (*case).to_owned(), reason: (*reason).to_owned() })
            .collect(),
    };
    let results = tokio::task::spawn_blocking(move || Runner::new(&settings, system).run_all("", |_| {}))
        .await
        .expect("the runner ends");
    let tally = Tally::of(&results);
    println!("conformance, ours against ours: {tally}");
    let others = results.iter().filter(|result| result.verdict != Verdict::Passed);
    let lines: String = others.map(report::line).collect();
    print!("{lines}");
    assert_eq!((tally.failed, tally.skipped), (0, 0), "{tally}\n{lines}");
    assert!(tally.cases > 150, "{tally}");
    ecosystem.stop(std::time::Duration::from_secs(30)).await.expect("a good end");
}
