//! Snapshots against the vectors, and what the vectors do not show: expiry, generations, groups, CAs of one name, scale.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::globalconf::anchor::Anchor;
use proto::globalconf::optional_parts;
use proto::globalconf::shared_parameters::{GlobalGroup, Member, SecurityServer, SharedParameters, Source};
use proto::globalconf::{DocumentError, PRIVATE_PARAMETERS_FILE, ParametersError, SHARED_PARAMETERS_FILE};
use proto::id::MemberId;
use serde_json::Value;
use testkit::vectors::{self, Tally};

use super::verify::{ConfigurationError, anchor_fingerprint, is_part, verify_directory};
use super::*;
use crate::key::PrivateKey;

fn client(text: &str) -> ClientId {
    ClientId::parse_short(text).unwrap()
}

fn server(text: &str) -> ServerId {
    ServerId::parse_short(text).unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten();
    texts.map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The first certificate of a PKCS#12 file of the vectors.
fn p12(path: &str) -> Certificate {
    let file = std::fs::read(vectors::dir().unwrap().join(path)).unwrap();
    let (_, certs) = PrivateKey::from_pkcs12(&file, "test").unwrap();
    Certificate::parse(&certs[0]).unwrap()
}

fn instance_anchor(path: &Path) -> Anchor {
    Anchor::read(&std::fs::read(path).unwrap()).unwrap()
}

/// Outcome of one file of the area: `Err` holds the code it was refused with.
type Outcome = Result<(), String>;

fn parameters(path: &str, bytes: &[u8], version: u32) -> Result<(), ParametersError> {
    use proto::globalconf::private_parameters::PrivateParameters;
    if path.ends_with(PRIVATE_PARAMETERS_FILE) {
        let first = PrivateParameters::read(bytes, version)?;
        assert_eq!(PrivateParameters::read(&first.write(version)?, version)?, first, "{path}");
    } else {
        let first = SharedParameters::read(bytes, version)?;
        assert_eq!(SharedParameters::read(&first.write(version)?, version)?, first, "{path}");
    }
    Ok(())
}

fn code_of(error: &ParametersError) -> String {
    error.fault_code().text(proto::fault::Style::Snake).to_owned()
}

fn anchor_file(bytes: &[u8], expect: &Value) -> Outcome {
    let anchor = Anchor::read(bytes)
        .map_err(|error| error.fault_code().text(proto::fault::Style::Snake).to_owned())?;
    if let Some(instance) = expect["instance"].as_str() {
        assert_eq!(anchor.instance, instance);
    }
    if let Some(sources) = expect["sources"].as_u64() {
        assert_eq!(anchor.sources.len() as u64, sources);
    }
    if let Some(url) = expect["first_url"].as_str() {
        assert_eq!(anchor.sources[0].url, url);
    }
    if expect["first_source_cert_sha1_base64"].is_array() {
        let certs = &anchor.sources[0].verification_certs;
        let digests = certs.iter().map(|cert| STANDARD.encode(DigestAlgorithm::Sha1.digest(cert).value));
        assert_eq!(digests.collect::<Vec<_>>(), strings(&expect["first_source_cert_sha1_base64"]));
    }
    if let Some(hash) = expect["hash_sha224"].as_str() {
        assert_eq!(anchor_fingerprint(bytes), hash);
    }
    Ok(())
}

fn optional_part(name: &str, bytes: &[u8]) -> Outcome {
    let kinds = [
        ("monitoring", optional_parts::MONITORING),
        ("fetchinterval", optional_parts::FETCH_INTERVAL),
        ("nextupdate", optional_parts::NEXT_UPDATE),
    ];
    let kind = kinds.iter().find(|(part, _)| name.contains(part)).map_or("OTHER", |(_, kind)| *kind);
    optional_parts::check(kind, bytes).map_err(|error| code_of(&error))
}

fn signed_file(bytes: &[u8], cert: &Certificate, expect: &Value) -> Outcome {
    // Before the expiry of the good ones; the bad ones expired long before and fail earlier.
    let now = UnixTime::from_iso8601("2026-05-20T17:42:54Z").unwrap();
    let verified = verify_directory(bytes, &[cert.der().to_vec()], now).map_err(|error| error.to_code())?;
    let parts = &verified.directory().parts;
    assert_eq!(parts.iter().map(|part| part.location.clone()).collect::<Vec<_>>(), strings(&expect["parts"]));
    let late = UnixTime::from_iso8601(expect["valid_before"].as_str().unwrap()).unwrap();
    let late = verify_directory(bytes, &[cert.der().to_vec()], late);
    assert_eq!(late.unwrap_err().to_code(), "global_conf_outdated");
    Ok(())
}

impl ConfigurationError {
    fn to_code(&self) -> String {
        self.fault_code().text(proto::fault::Style::Snake).to_owned()
    }
}

#[test]
fn vectors_globalconf() {
    let Some((dir, expected)) = vectors::area("globalconf") else { return };
    let mut tally = Tally::new("globalconf");
    for file in expected["files"].as_array().unwrap() {
        let name = file["file"].as_str().unwrap();
        let bytes = std::fs::read(dir.join(name)).unwrap();
        let expect = &file["expect"];
        let version = file["configuration_version"].as_u64().map(|v| u32::try_from(v).unwrap());
        let outcome = match name.split('/').next().unwrap() {
            "anchors" => anchor_file(&bytes, expect),
            "optional-parts" => optional_part(name, &bytes),
            "params" | "locations" => parameters(name, &bytes, version.unwrap_or(2)).map_err(|e| code_of(&e)),
            "signed" => signed_file(&bytes, &p12("certs/common-test/consumer.p12"), expect),
            "configuration-parts" => {
                tally.not_applicable("in central-server, which reads declarations of parts");
                continue;
            }
            _ => Ok(()),
        };
        let verdict = match (expect["verdict"].as_str(), &file["schema_valid"]) {
            (Some(verdict @ ("accept" | "reject")), _) => verdict,
            (None, Value::Bool(valid)) => {
                if *valid {
                    "accept"
                } else {
                    "reject"
                }
            }
            _ => continue,
        };
        let found = if outcome.is_ok() { "accept" } else { "reject" };
        tally.equal(name, found, verdict);
        if let (Err(code), Some(expected)) = (outcome, expect["code"].as_str()) {
            tally.equal(name, code.as_str(), expected);
        }
    }
    for case in expected["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        match name {
            "readiness of a configuration directory" => readiness(&dir, case, &mut tally),
            "queries on version 2" => queries(&dir, case, &mut tally),
            "ACME fields of approved CA pki1" => acme(&dir, case, &mut tally),
            "OCSP address order by strategy (certificate test_chain/user_1.p12)" => {
                strategies(&dir, case, &mut tally);
            }
            "parseConfWrongVerificationCert" => {
                let bytes = std::fs::read(dir.join(case["file"].as_str().unwrap())).unwrap();
                let cert = p12(case["trusted"].as_str().unwrap());
                let found = signed_file(&bytes, &cert, &case["expect"]).unwrap_err();
                tally.equal(name, found.as_str(), case["expect"]["code"].as_str().unwrap());
            }
            "further download locations from shared parameters" => {
                tally.not_applicable("in security-server, which downloads");
            }
            _ if name.starts_with("directory contents") => contents(&dir, case, &mut tally),
            _ => tally.fail(name, "unknown case"),
        }
    }
    tally.finish();
}

fn readiness(dir: &Path, case: &Value, tally: &mut Tally) {
    for row in case["rows"].as_array().unwrap() {
        let path = match row[0].as_str().unwrap() {
            "-" | "a path that does not exist" => dir.join("nowhere"),
            "a file instead of a directory" => dir.join("expected.json"),
            path => dir.join(path),
        };
        let found = match load_directory(&path) {
            Ok(_) => "READY_TO_INIT",
            Err(GlobalConfError::Io { .. }) => "FAILURE_CONFIGURATION_ERROR",
            Err(_) => "FAILURE_MALFORMED",
        };
        tally.equal(&row[0], found, row[1].as_str().unwrap());
    }
}

fn contents(dir: &Path, case: &Value, tally: &mut Tally) {
    let dir = dir.join(case["dir"].as_str().unwrap());
    let conf = load_directory(&dir).unwrap();
    let expect = &case["expect"];
    tally.equal("own instance", conf.instance(), expect["own_instance"].as_str().unwrap());
    let (both, shared_only) = (strings(&expect["shared_and_private"]), strings(&expect["shared_only"]));
    let found: BTreeSet<String> = conf.instances().into_iter().map(str::to_owned).collect();
    tally.equal("instances", found, both.iter().chain(&shared_only).cloned().collect());
    let at = UnixTime(0);
    for absent in strings(&expect["absent"]) {
        tally.equal(&absent, conf.knows_instance(&absent, at), false);
    }
    for (instance, private) in both.iter().map(|i| (i, true)).chain(shared_only.iter().map(|i| (i, false))) {
        let folder = dir.join(proto::globalconf::folder_name(instance));
        tally.equal(instance, folder.join(SHARED_PARAMETERS_FILE).exists(), true);
        tally.equal(instance, folder.join(PRIVATE_PARAMETERS_FILE).exists(), private);
    }
}

fn queries(dir: &Path, case: &Value, tally: &mut Tally) {
    let conf = load_directory(&dir.join(case["dir"].as_str().unwrap())).unwrap();
    let now = UnixTime(0);
    conf.check_valid(now).unwrap();
    let group = GlobalGroupId { instance: "EE".into(), code: "Test group".into() };
    let addresses = |of: &str| -> BTreeSet<String> {
        conf.providers(&client(of)).iter().map(|server| server.address.clone()).collect()
    };
    let certs = |name: &str| p12(&format!("certs/common-test/{name}.p12"));
    let count = |found: usize| found as u64;
    for (question, answer) in case["expect"].as_object().unwrap() {
        let set = || strings(answer).into_iter().collect::<BTreeSet<_>>();
        match question.as_str() {
            "members of EE, in order" => {
                let found: Vec<String> = conf.clients("EE").iter().map(|(id, _)| id.short()).collect();
                tally.equal(question, found, strings(answer));
            }
            "group EE \"Test group\" contains" => {
                for (member, is_in) in answer.as_object().unwrap() {
                    tally.equal(member, conf.is_in_group(&client(member), &group), is_in.as_bool().unwrap());
                }
            }
            "group description" => tally.equal(question, conf.group_description(&group), answer.as_str()),
            "provider address of consumer" => {
                tally.equal(question, addresses("EE/BUSINESS/consumer"), set());
            }
            "provider address of producer" => {
                tally.equal(question, addresses("EE/BUSINESS/producer"), set());
            }
            "certificate chain of test_chain/user_3.p12" => {
                let mut chain = vec![p12("certs/common-test/test_chain/user_3.p12")];
                while let Some(issuer) = conf.ca_for(chain.last().unwrap(), "EE") {
                    if issuer.cert.der() == chain.last().unwrap().der() {
                        break;
                    }
                    chain.push(issuer.cert.clone());
                }
                let file = |name: &String| p12(&format!("certs/common-test/test_chain/{name}.p12"));
                tally.equal(question, chain, strings(answer).iter().map(file).collect());
            }
            "OCSP responder certificates" => {
                tally.equal(question, count(conf.responder_certs().count()), answer.as_u64().unwrap());
            }
            "OCSP addresses for consumer include" => {
                let ca = conf.ca_for(&certs("consumer"), "EE").unwrap();
                let found: BTreeSet<String> = ca.ocsp.iter().map(|ocsp| ocsp.url.clone()).collect();
                tally.equal(question, set().is_subset(&found), true);
            }
            "auth certificate match" => {
                let producer = client("EE/BUSINESS/producer");
                let fits = |name: &str| {
                    let server = conf.server_by_auth_cert(&certs(name));
                    server.is_some_and(|server| conf.is_client_of(&producer, server))
                };
                tally.equal(
                    question,
                    fits("producer"),
                    answer["producer.p12 for producer"].as_bool().unwrap(),
                );
                tally.equal(
                    question,
                    fits("consumer"),
                    answer["consumer.p12 for producer"].as_bool().unwrap(),
                );
            }
            "server id of producer.p12" => {
                let found = conf.server_by_auth_cert(&certs("producer")).map(ServerId::short);
                tally.equal(question, found.as_deref(), answer.as_str());
            }
            "owner of EE/BUSINESS/producer/producerServerCode" => {
                let found = conf.server(&server("EE/BUSINESS/producer/producerServerCode")).unwrap();
                tally.equal(question, Some(found.id.owner.short().as_str()), answer.as_str());
            }
            "verification CA certificates" => {
                tally.equal(question, count(conf.signature_anchors().count()), answer.as_u64().unwrap());
            }
            "TSA certificates" => {
                tally.equal(question, count(conf.tsa_certs().len()), answer.as_u64().unwrap())
            }
            "OCSP freshness seconds" => {
                tally.equal(question, conf.ocsp_rules().freshness.as_secs(), answer.as_u64().unwrap());
            }
            "management service" => {
                let private = conf.private().unwrap();
                let found =
                    format!("{} at {}", private.management_provider.short(), private.auth_cert_reg_address);
                tally.equal(question, found.as_str(), answer.as_str().unwrap());
            }
            "approved CAs of EE" => {
                tally.equal(question, count(conf.approved_cas("EE").len()), answer.as_u64().unwrap());
            }
            _ => tally.fail(question, "unknown question"),
        }
    }
}

fn acme(dir: &Path, case: &Value, tally: &mut Tally) {
    for row in case["rows"].as_array().unwrap() {
        let conf = load_directory(&dir.join(row[0].as_str().unwrap())).unwrap();
        let cas = conf.approved_cas(row[1].as_str().unwrap());
        let acme = cas.iter().find(|ca| ca.name == "pki1").and_then(|ca| ca.acme.clone()).unwrap();
        tally.equal(row, Some(acme.directory_url.as_str()), row[2]["acme"].as_str());
        tally.equal(row, acme.authentication_profile.as_deref(), row[2]["auth_profile"].as_str());
        tally.equal(row, acme.signing_profile.as_deref(), row[2]["sign_profile"].as_str());
    }
}

fn strategies(dir: &Path, case: &Value, tally: &mut Tally) {
    let conf = load_directory(&dir.join(case["dir"].as_str().unwrap())).unwrap();
    let ca = conf.ca_for(&p12("certs/common-test/test_chain/user_1.p12"), "EE").unwrap();
    for (name, urls) in case["rows"].as_object().unwrap() {
        let strategy = match name.as_str() {
            "NONE" => CostStrategy::None,
            "ONLY_FREE" => CostStrategy::OnlyFree,
            "FREE_FIRST" => CostStrategy::FreeFirst,
            other => panic!("{other}"),
        };
        let found = strategy.order(&ca.ocsp, |ocsp| ocsp.cost).iter().map(|ocsp| ocsp.url.clone()).collect();
        tally.equal::<Vec<String>>(name, found, strings(urls));
    }
}

#[test]
fn vectors_instance_directories() {
    let Some((dir, expected)) = vectors::area("instance") else { return };
    let mut tally = Tally::new("instance (configuration)");
    let anchor = instance_anchor(&dir.join("configuration_anchor_CS_internal.xml"));
    let now = UnixTime::from_iso8601("2026-11-21T00:00:00Z").unwrap();
    for file in expected["files"].as_array().unwrap() {
        let name = file["file"].as_str().unwrap();
        let path = dir.join(name);
        if name.ends_with("params.xml") {
            let version = u32::try_from(file["configuration_version"].as_u64().unwrap()).unwrap();
            let outcome = parameters(name, &std::fs::read(&path).unwrap(), version);
            tally.ok(name, outcome);
            continue;
        }
        if !name.ends_with("conf") || name.ends_with(".cnf") {
            continue;
        }
        // Whose signature it carries is said in words: the anchor's, or one in the shared parameters of some version.
        let said = file["expect"]["signed_by"].as_str().unwrap();
        let certs = if said.contains("anchor") {
            anchor.sources.iter().flat_map(|source| source.verification_certs.clone()).collect()
        } else {
            let of = if said.contains("of public/V6") {
                dir.join("public/V6")
            } else {
                path.parent().unwrap().into()
            };
            location_certs(&of, name.contains("internal"))
        };
        let found = match verify_directory(&std::fs::read(&path).unwrap(), &certs, now) {
            Ok(verified) => parts_fit(verified.directory(), path.parent().unwrap()),
            Err(error) => Err(error.to_code()),
        };
        let verdict = if found.is_ok() { "accept" } else { "reject" };
        tally.equal(name, Some(verdict), file["expect"]["verdict"].as_str());
        tally.equal(name, found.err().as_deref(), file["expect"]["code"].as_str());
    }
    tally.finish();
}

/// Signing certificates in the shared parameters of a published version.
fn location_certs(version: &Path, internal: bool) -> Vec<Vec<u8>> {
    let number = version.file_name().unwrap().to_str().unwrap()[1..].parse().unwrap();
    let stamps = std::fs::read_dir(version).unwrap().map(|entry| entry.unwrap().path());
    let stamp = stamps.into_iter().find(|path| path.is_dir()).unwrap();
    let shared = SharedParameters::read(&std::fs::read(stamp.join(SHARED_PARAMETERS_FILE)).unwrap(), number);
    let sources: Vec<Source> = shared.unwrap().sources;
    sources.into_iter().flat_map(|s| if internal { s.internal_certs } else { s.external_certs }).collect()
}

/// Whether every part lies where the directory says and has its hash; else the client's code.
fn parts_fit(directory: &proto::globalconf::directory::Directory, version: &Path) -> Outcome {
    for part in &directory.parts {
        let below = part.location.trim_start_matches('/').split_once('/').unwrap().1;
        if !is_part(part, &std::fs::read(version.join(below)).unwrap()) {
            return Err("global_conf_part_downloaded_file_integrity_failure".into());
        }
    }
    Ok(())
}

#[test]
fn vectors_captured_central_server() {
    let Some(dir) = vectors::dir().map(|dir| dir.join("captures/central-server")) else { return };
    let mut tally = Tally::new("captures/central-server (signatures)");
    for source in ["internal", "external"] {
        let anchor = instance_anchor(&dir.join(format!("anchor-{}.xml", source.to_uppercase())));
        for snapshot in ["snapshot-1857", "snapshot-after-ss1"] {
            // The signing key was changed in between, so that the anchor alone does not do for the later one.
            let mut certs = location_certs(&dir.join(snapshot).join("V6"), source == "internal");
            certs.extend(anchor.sources.iter().flat_map(|source| source.verification_certs.clone()));
            for version in 2..=6 {
                let folder = dir.join(snapshot).join(format!("V{version}"));
                let bytes = std::fs::read(folder.join(format!("{source}conf"))).unwrap();
                let signed = proto::globalconf::directory::SignedDirectory::parse(&bytes).unwrap();
                let expires = signed.directory().unwrap().expires;
                let name = format!("{snapshot}/V{version}/{source}");
                match verify_directory(&bytes, &certs, UnixTime(expires.0 - 1)) {
                    Ok(verified) => tally.ok(&name, parts_fit(verified.directory(), &folder)),
                    Err(error) => tally.fail(&name, error),
                }
                let late = verify_directory(&bytes, &certs, expires).unwrap_err();
                tally.equal(&name, late, ConfigurationError::Expired(expires));
                // One bit anywhere in what is signed.
                let mut changed = bytes.clone();
                let at = bytes.windows(8).position(|w| w == b"Version:").unwrap();
                changed[at] ^= 0x20;
                let refused = verify_directory(&changed, &certs, UnixTime(0)).unwrap_err();
                tally.equal(&name, refused, ConfigurationError::Signature);
            }
        }
    }
    for env in ["env-rsa", "env-ec"] {
        let conf = load_directory(&dir.join("..").join(env).join("globalconf"));
        tally.equal(env, conf.map(|conf| conf.instance().to_owned()).ok().as_deref(), Some("PEER"));
    }
    tally.finish();
}

fn member(code: &str, subsystems: &[&str]) -> Member {
    Member {
        id: MemberId { instance: "XX".into(), class: "GOV".into(), code: code.into() },
        class_description: "Government".into(),
        name: format!("Member {code}"),
        subsystems: subsystems.iter().map(|code| ((*code).to_owned(), None)).collect(),
    }
}

/// Two members on two servers, one of which has no address.
fn small() -> SharedParameters {
    SharedParameters {
        instance: "XX".into(),
        sources: vec![Source::default()],
        members: vec![member("1", &["a", "b"]), member("2", &["a"])],
        servers: vec![
            SecurityServer {
                id: server("XX/GOV/1/s1"),
                address: Some("s1.example".into()),
                auth_cert_hashes: vec![vec![1; 32]],
                clients: vec![client("XX/GOV/1/a"), client("XX/GOV/2/a")],
                maintenance: Some(None),
            },
            SecurityServer {
                id: server("XX/GOV/2/s2"),
                address: None,
                auth_cert_hashes: vec![],
                clients: vec![client("XX/GOV/1/a")],
                maintenance: None,
            },
        ],
        groups: vec![GlobalGroup {
            id: GlobalGroupId { instance: "XX".into(), code: "g".into() },
            description: "G".into(),
            members: vec![client("XX/GOV/1"), client("YY/GOV/1"), client("XX/GOV/1/a")],
        }],
        ocsp_freshness_seconds: 60,
        ..SharedParameters::default()
    }
}

fn conf_of(parameters: SharedParameters) -> GlobalConf {
    let name = parameters.instance.clone();
    let instance = Instance::new(parameters, 6).unwrap();
    Builder::new(&name).instance(Arc::new(instance), None).build().unwrap()
}

#[test]
fn clients_servers_and_groups_are_found_exactly() {
    let conf = conf_of(small());
    let providers =
        |id: &str| conf.providers(&client(id)).iter().map(|s| s.id.code.clone()).collect::<Vec<_>>();
    assert_eq!(providers("XX/GOV/1"), ["s1"], "the owner");
    assert_eq!(providers("XX/GOV/1/a"), ["s1"], "the server without address is nobody's provider");
    assert_eq!(providers("XX/GOV/2"), [""; 0], "the owner of a server without address");
    for unknown in ["XX/GOV/1/b", "XX/GOV/1/A", "XX/COM/1", "YY/GOV/1/a", "XX/GOV/3"] {
        assert_eq!(providers(unknown), [""; 0], "{unknown}");
    }
    assert_eq!(conf.server(&server("XX/GOV/2/s2")).unwrap().address, "");
    assert_eq!(conf.server(&server("XX/GOV/1/s1")).unwrap().maintenance, Some(None));
    let on = |id: &str, at: &str| conf.is_client_of(&client(id), &server(at));
    assert!(
        on("XX/GOV/1/a", "XX/GOV/2/s2") && on("XX/GOV/2", "XX/GOV/2/s2") && on("XX/GOV/2/a", "XX/GOV/1/s1")
    );
    assert!(
        !on("XX/GOV/1", "XX/GOV/2/s2") && !on("XX/GOV/1/b", "XX/GOV/1/s1") && !on("XX/GOV/1", "XX/GOV/9/s1")
    );
    assert!(conf.is_known(&client("XX/GOV/1/b")) && !conf.is_known(&client("XX/GOV/1/c")));

    let group = GlobalGroupId { instance: "XX".into(), code: "g".into() };
    assert!(conf.is_in_group(&client("YY/GOV/1"), &group) && conf.is_in_group(&client("XX/GOV/1/a"), &group));
    assert!(
        !conf.is_in_group(&client("XX/GOV/1/b"), &group) && !conf.is_in_group(&client("ZZ/GOV/1"), &group)
    );
    let elsewhere = GlobalGroupId { instance: "YY".into(), ..group.clone() };
    assert!(!conf.is_in_group(&client("XX/GOV/1"), &elsewhere));
    assert_eq!((conf.group_members(&group).len(), conf.group_description(&group)), (3, Some("G")));
    let clients: Vec<String> =
        conf.clients("XX").into_iter().map(|(id, name)| format!("{id} {name}")).collect();
    assert_eq!(clients.len(), 5);
    assert!(clients[1].ends_with("Member 1"), "{}", clients[1]);
}

#[test]
fn an_expired_instance_vanishes_and_an_expired_main_one_is_reported() {
    let at = UnixTime::from_secs;
    let main = Arc::new(Instance::new(small(), 6).unwrap());
    let mut other = small();
    other.instance = "YY".into();
    other.members.clear();
    other.servers.clear();
    let other = Arc::new(Instance::new(other, 3).unwrap());
    let conf =
        Builder::new("XX").instance(main, Some(at(100))).instance(other, Some(at(50))).build().unwrap();
    assert!(conf.knows_instance("YY", at(49)) && !conf.knows_instance("YY", at(50)));
    assert_eq!(conf.next_federated_expiry(), Some(at(50)));
    assert!(conf.without_expired(at(49)).is_none());
    let rest = conf.without_expired(at(50)).unwrap();
    assert_eq!((rest.instances(), rest.next_federated_expiry()), (vec!["XX"], None));
    assert_ne!(rest.generation(), conf.generation());
    assert!(rest.check_valid(at(99)).is_ok());
    let outdated = rest.check_valid(at(100)).unwrap_err();
    assert_eq!(outdated.fault_code(), FaultCode::GlobalConfOutdated);
    assert!(
        rest.without_expired(at(1000)).is_none(),
        "the main instance stays, so that its expiry can be told"
    );
}

#[test]
fn the_generation_follows_the_content_and_not_the_expiry() {
    let conf = conf_of(small());
    let instance = Arc::new(Instance::new(small(), 6).unwrap());
    let renewed = Builder::new("XX").instance(Arc::clone(&instance), Some(UnixTime(1))).build().unwrap();
    assert_eq!(conf.generation(), renewed.generation());
    let mut changed = small();
    changed.servers[0].address = Some("s1.example.org".into());
    assert_ne!(conf.generation(), conf_of(changed).generation());
    let parts = OptionalParts { verify_next_update: Some(false), ..OptionalParts::default() };
    let relaxed = Builder::new("XX").instance(instance, None).optional(parts).build().unwrap();
    assert_ne!(conf.generation(), relaxed.generation());
    assert!(!relaxed.ocsp_rules().verify_next_update && conf.ocsp_rules().verify_next_update);
    assert_eq!(relaxed.ocsp_fetch_interval_seconds(), 1200);
}

#[test]
fn a_certificate_that_does_not_parse_takes_nobody_with_it() {
    let mut parameters = small();
    parameters.approved_tsas.push(ApprovedTsa {
        name: "T".into(),
        cert: vec![1, 2],
        ..ApprovedTsa::default()
    });
    let conf = conf_of(parameters);
    assert!(conf.tsa_certs().is_empty());
    assert_eq!((conf.tsas().len(), conf.problems().count()), (1, 1));
}

#[test]
fn a_folder_must_hold_what_it_says() {
    let shared = small().write(6).unwrap();
    let metadata = br#"{"configurationVersion":"6","expirationDate":"2026-01-01T00:00:00Z"}"#.to_vec();
    let good = || {
        Files::from([
            ("instance-identifier".to_owned(), b"XX\n".to_vec()),
            ("XX/shared-params.xml".to_owned(), shared.clone()),
            ("XX/shared-params.xml.metadata".to_owned(), metadata.clone()),
        ])
    };
    assert_eq!(load_files(good()).unwrap().expires(), UnixTime::from_iso8601("2026-01-01T00:00:00Z"));
    let with = |name: &str, bytes: &[u8]| {
        let mut files = good();
        files.insert(name.into(), bytes.to_vec());
        load_files(files)
    };
    // A federated folder that is broken, or claims to be another instance, is left out.
    for bytes in [&b"<conf/>"[..], &shared] {
        let conf = with("YY/shared-params.xml", bytes).unwrap();
        assert_eq!(conf.instances(), ["XX"]);
    }
    assert!(with("instance-identifier", b"YY").is_err());
    assert!(with("instance-identifier", b" ").is_err());
    assert!(with("XX/shared-params.xml", b"<conf/>").is_err());
    assert!(with("XX/shared-params.xml.metadata", b"{").is_err());
    assert!(with("XX/shared-params.xml.metadata", br#"{"configurationVersion":"7"}"#).is_err());
    assert!(with("XX/private-params.xml", b"<conf/>").is_err());
    let conf = with("XX/nextupdate-params.xml", b"<conf/>").unwrap();
    assert!(conf.ocsp_rules().verify_next_update && conf.problems().count() == 1, "counts as absent");
    assert_eq!(Instance::read(&shared, 7).unwrap_err(), ParametersError(DocumentError::Version(7)));
}

/// What lookups give is what the document says, for members, subsystems, servers and groups of any number that share names and servers.
#[test]
fn lookups_say_what_the_document_says() {
    proptest::proptest!(|(on in proptest::collection::vec((0..9_usize, 0..4_usize, 0..6_usize), 0..60))| {
        let members: Vec<Member> = (0..9).map(|n| member(&n.to_string(), &["a", "b", "c"][..n % 4])).collect();
        let all: Vec<ClientId> = members.iter().flat_map(|m| {
            let subsystems = m.subsystems.iter().map(|(code, _)| m.id.clone().subsystem(code.as_str()));
            std::iter::once(m.id.clone().client()).chain(subsystems).collect::<Vec<_>>()
        }).collect();
        let servers: Vec<SecurityServer> = (0..6).map(|number| SecurityServer {
            id: server(&format!("XX/GOV/{number}/s{number}")),
            address: (number != 3).then(|| format!("s{number}.example")),
            auth_cert_hashes: vec![],
            clients: on.iter().filter(|(.., at)| *at == number).map(|(m, s, _)| all[(m * 4 + s) % all.len()].clone()).collect(),
            maintenance: None,
        }).collect();
        let group = GlobalGroup {
            id: GlobalGroupId { instance: "XX".into(), code: "some".into() },
            description: "Some".into(),
            members: on.iter().map(|(m, s, _)| all[(m + s) % all.len()].clone()).collect(),
        };
        let conf = conf_of(SharedParameters { members, servers: servers.clone(), groups: vec![group.clone()], ..small() });
        let listed: Vec<ClientId> = conf.clients("XX").into_iter().map(|(id, _)| id).collect();
        proptest::prop_assert_eq!(&listed, &all);
        proptest::prop_assert_eq!(conf.group_members(&group.id), group.members.clone());
        for client in all.iter().chain([&client("XX/GOV/1/z"), &client("XX/GOV/99")]) {
            let is_on = |server: &&SecurityServer| server.id.owner.clone().client() == *client || server.clients.contains(client);
            let expected: Vec<&ServerId> = servers.iter().filter(is_on).filter(|s| s.address.is_some()).map(|s| &s.id).collect();
            let found: Vec<&ServerId> = conf.providers(client).iter().map(|server| &server.id).collect();
            proptest::prop_assert_eq!(found, expected, "{}", client);
            proptest::prop_assert_eq!(conf.is_known(client), all.contains(client));
            proptest::prop_assert_eq!(conf.is_in_group(client, &group.id), group.members.contains(client));
            for server in &servers {
                proptest::prop_assert_eq!(conf.is_client_of(client, &server.id), is_on(&server));
            }
        }
    });
}

/// A hundred thousand members with two subsystems each on ten thousand servers take 30 MB, by its own accounts (`.ci/slow`; a fiftieth
/// of it in the usual run).
#[test]
fn a_large_instance_is_found_through_and_stays_small() {
    let members = testkit::tools::rounds(2_000, 100_000);
    let mut parameters = SharedParameters { servers: Vec::new(), members: Vec::new(), ..small() };
    for number in 0..members {
        parameters
            .members
            .push(member(&format!("1000{number}-7"), &["population-register", "school-office"]));
    }
    for number in 0..members / 10 {
        let on = (number * 10..number * 10 + 10).map(|member| format!("XX/GOV/1000{member}-7"));
        parameters.servers.push(SecurityServer {
            id: server(&format!("XX/GOV/1000{number}-7/ss-{number}")),
            address: Some(format!("ss{number}.example.org")),
            auth_cert_hashes: vec![DigestAlgorithm::Sha256.digest(&number.to_be_bytes()).value],
            clients: on
                .flat_map(|of| {
                    ["population-register", "school-office"].map(|sub| client(&format!("{of}/{sub}")))
                })
                .collect(),
            maintenance: None,
        });
    }
    let document = parameters.write(6).unwrap();
    drop(parameters);
    let conf = conf_of_document(&document);
    let last = members - 1;
    let found = conf.providers(&client(&format!("XX/GOV/1000{last}-7/school-office")));
    assert_eq!(found[0].address, format!("ss{}.example.org", last / 10));
    assert!(conf.providers(&client(&format!("XX/GOV/1000{members}-7/school-office"))).is_empty());
    let bytes = conf.shared("XX").unwrap().0.heap_bytes();
    eprintln!("{members} members, document {} bytes: {bytes} bytes", document.len());
    assert!(bytes < members * 300, "{bytes}");
}

fn conf_of_document(document: &[u8]) -> GlobalConf {
    let instance = Instance::read(document, 6).unwrap();
    Builder::new("XX").instance(Arc::new(instance), None).build().unwrap()
}
