//! A stopped server filled from files: from empty, again, with changes, with mistakes.

use std::fs;
use std::time::SystemTime;

use pki::cert::Certificate;
use pki::issue::Role;
use signer::software::SoftwareSigner;
use signer::token::KeyUsage;

use super::*;
use crate::serverconf::event::Endpoint;
use crate::serverconf::state::State;
use crate::testing::{NOW, ca};

/// A folder with the file, what it names and the data directory.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        bench.put("is.crt", &ca().tls("is").1.to_pem());
        bench
    }
    fn put(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }
    fn options(&self) -> Options {
        Options {
            file: self.0.path().join("server.yaml"),
            data_dir: self.0.path().join("data"),
            target: None,
            prune: false,
            dry_run: false,
        }
    }
    fn apply(&self, yaml: &str) -> Result<Vec<String>, String> {
        self.apply_with(yaml, &self.options())
    }
    fn apply_with(&self, yaml: &str, options: &Options) -> Result<Vec<String>, String> {
        self.put("server.yaml", yaml);
        let report = run(options, "test", NOW).map_err(|e| e.to_string())?;
        Ok(report.lines.iter().map(ToString::to_string).collect())
    }
    /// A key and its certificate in PEM, `name.key` and `name.crt`.
    fn put_pair(&self, name: &str, role: Role) -> Certificate {
        let (key, cert) = ca().issue(name, role);
        self.put(&format!("{name}.key"), &pki::pem::encode("PRIVATE KEY", &key.to_pkcs8()));
        self.put(&format!("{name}.crt"), &cert.to_pem());
        cert
    }
    fn state(&self) -> State {
        let store = Store::open(&self.0.path().join("data/state")).unwrap();
        (*ServerConfStore::open(&store).unwrap().state()).clone()
    }
}

const YAML: &str = "
instance: EE
servers:
- owner: EE:GOV:1
  code: ss1
  timestamping:
  - {name: TSA 1, url: 'http://tsa.example/'}
  clients:
  - id: EE:GOV:1:school
    connection: HTTPS
    tls-certificates: [is.crt]
    groups:
    - code: friends
      description: who may
      members: [EE:COM:7:x, EE/COM/8/y]
    services:
    - type: REST
      url: http://10.0.0.1:8080/register
      code: register
      timeout: 20
      access: [LOCALGROUP:friends]
      endpoints:
      - {method: GET, path: /persons/*, access: [GLOBALGROUP:EE:all, EE:COM:9:z]}
    - type: WSDL
      url: https://10.0.0.1/register?wsdl
      service-url: https://10.0.0.1/soap
      code: find
      version: v1
      enabled: false
      notice: Tomorrow
";

#[test]
fn fills_an_empty_folder_and_finds_nothing_to_do_the_second_time() {
    let bench = Bench::new();
    let first = bench.apply(YAML).unwrap();
    for line in [
        "+ server SERVER:EE/GOV/1/ss1",
        "~ timestamping services: TSA 1",
        "+ client SUBSYSTEM:EE/GOV/1/school",
        "+ client SUBSYSTEM:EE/GOV/1/school: TLS certificate CN=is,O=Causeway Tests",
        "+ client SUBSYSTEM:EE/GOV/1/school: SUBSYSTEM:EE/COM/8/y in local group friends",
        "+ service SUBSYSTEM:EE/GOV/1/school/register: * ** for LOCALGROUP:friends",
        "+ service SUBSYSTEM:EE/GOV/1/school/register: GET /persons/* for GLOBALGROUP:EE/all",
        "+ service SUBSYSTEM:EE/GOV/1/school/find v1",
    ] {
        assert!(first.iter().any(|l| l == line), "{line} is not in {first:#?}");
    }
    let state = bench.state();
    assert_eq!(bench.apply(YAML).unwrap(), Vec::<String>::new());
    assert_eq!(bench.state(), state);

    let client = &state.clients[&proto::id::ClientId::parse_encoded("EE:GOV:1:school").unwrap()];
    let wsdl = &client.descriptions["https://10.0.0.1/register?wsdl"];
    assert_eq!(wsdl.disabled.as_deref(), Some("Tomorrow"));
    assert!(wsdl.services.values().all(|s| s.verify_tls && s.url == "https://10.0.0.1/soap"));
    assert!(client.descriptions["http://10.0.0.1:8080/register"].services.values().all(|s| !s.verify_tls));
    assert_eq!(client.endpoints["register"][&Endpoint::service_level()].rights.len(), 1);
}

#[test]
fn changes_what_differs_and_keeps_the_rest_unless_told_to_prune() {
    let bench = Bench::new();
    bench.apply(YAML).unwrap();
    let less = "
servers:
- owner: EE:GOV:1
  code: ss1
  clients:
  - id: EE:GOV:1:school
    connection: HTTP
    services:
    - {type: REST, url: 'http://10.0.0.1:8080/register', code: register, timeout: 5}
";
    let dry = Options { dry_run: true, prune: true, ..bench.options() };
    let before = bench.state();
    let planned = bench.apply_with(less, &dry).unwrap();
    assert_eq!(bench.state(), before, "a dry run changes nothing");

    let modified = [
        "~ client SUBSYSTEM:EE/GOV/1/school: connection type",
        "~ service SUBSYSTEM:EE/GOV/1/school/register",
    ];
    assert_eq!(bench.apply(less).unwrap(), modified);

    let prune = Options { prune: true, ..bench.options() };
    let pruned = bench.apply_with(less, &prune).unwrap();
    assert_eq!(planned.len(), modified.len() + pruned.len());
    assert!(pruned.iter().all(|line| line.starts_with("- ")), "{pruned:#?}");
    for line in [
        "endpoint GET /persons/*",
        "* ** for LOCALGROUP:friends",
        "local group friends",
        "register?wsdl",
        "TLS certificate",
    ] {
        assert!(pruned.iter().any(|l| l.contains(line)), "{line} is not in {pruned:#?}");
    }
    assert_eq!(bench.apply_with(less, &prune).unwrap(), Vec::<String>::new());
    let state = bench.state();
    assert_eq!(state.clients.len(), 2, "the owner stays");
    assert_eq!(state.tsas.len(), 1, "a list that is not there says nothing");
}

#[test]
fn a_service_moves_to_another_description_only_with_prune() {
    let bench = Bench::new();
    bench.apply(YAML).unwrap();
    let moved = YAML.replace("http://10.0.0.1:8080/register", "http://10.0.0.2/register");
    let problem = bench.apply(&moved).unwrap_err();
    assert!(
        problem.contains("belongs to another description") && problem.contains("services[0]"),
        "{problem}"
    );
    let prune = Options { prune: true, ..bench.options() };
    bench.apply_with(&moved, &prune).unwrap();
    let state = bench.state();
    let client = &state.clients[&proto::id::ClientId::parse_encoded("EE:GOV:1:school").unwrap()];
    assert!(client.descriptions.contains_key("http://10.0.0.2/register"));
    assert_eq!(
        client.endpoints["register"].values().map(|e| e.rights.len()).sum::<usize>(),
        3,
        "rights are granted again"
    );
}

#[test]
fn refuses_with_the_place_and_changes_nothing() {
    let bench = Bench::new();
    bench.put("anchor.xml", "<x/>");
    bench.put("empty.crt", "");
    let server = |rest: &str| format!("servers:\n- owner: EE:GOV:1\n  code: ss1\n{rest}");
    let client = |rest: &str| server(&format!("  clients:\n  - id: EE:GOV:1:x\n{rest}"));
    let service = |rest: &str| client(&format!("    services:\n    - {{code: a, {rest}}}\n"));
    let cases = [
        ("no server", "servers: []".to_owned(), "no such server"),
        ("two servers", format!("{}- owner: EE:GOV:2\n  code: ss2\n", server("")), "--target"),
        (
            "other instance",
            format!("instance: FI\n{}", server("")),
            "servers[0].owner: is not of instance FI",
        ),
        ("no anchor", server("  anchor: anchor.xml\n"), "servers[0].anchor: anchor.xml: "),
        ("no such file", server("  anchor: none.xml\n"), "No such file"),
        ("other client", server("  clients:\n  - id: FI:GOV:1:x\n"), "servers[0].clients[0]: "),
        ("no certificate", client("    tls-certificates: [empty.crt]\n"), "tls-certificates[0]: empty.crt"),
        (
            "no service url",
            service("type: WSDL, url: 'http://a/'"),
            "services[0]: `url` is where the description is",
        ),
        ("bad url", service("type: REST, url: 'a/b'"), "services[0]: \"a/b\": it must begin with http://"),
        (
            "reserved",
            service("type: REST, url: 'http://a/'").replace("code: a", "code: listMethods"),
            "reserved",
        ),
        (
            "unknown group",
            service("type: REST, url: 'http://a/', access: ['LOCALGROUP:none']"),
            "services[0]: local group \"none\" does not exist",
        ),
        (
            "bad method",
            service("type: REST, url: 'http://a/', endpoints: [{method: FETCH, path: /}]"),
            "endpoints[0]: method of an endpoint: one of",
        ),
        ("key without pin", server("  keys: {signing: [{key: a, certificate: b}]}\n"), "keys need a `pin`"),
        (
            "key without certificate",
            server("  pin: {env: X}\n  keys: {signing: [{key: a}]}\n"),
            "signing[0]: name either `pkcs12`, or `key` and `certificate`",
        ),
    ];
    for (name, yaml, expected) in cases {
        let problem = bench.apply(&yaml).expect_err(name);
        assert!(problem.contains(expected), "{name}: {problem}");
    }
    assert_eq!(bench.state(), State::default());
}

#[test]
fn another_identity_is_refused() {
    let bench = Bench::new();
    bench.apply(YAML).unwrap();
    let problem = bench.apply("servers:\n- owner: EE:GOV:1\n  code: ss2\n").unwrap_err();
    assert!(problem.contains("stays it"), "{problem}");
}

#[test]
fn a_running_server_is_left_alone() {
    let bench = Bench::new();
    let _running = DataDir::open(&bench.options().data_dir, crate::ROLE, crate::FORMAT).unwrap();
    assert!(bench.apply(YAML).unwrap_err().contains("in use"));
}

const KEYS: &str = "
servers:
- owner: EE:GOV:1
  code: ss1
  pin: {file: pin}
  keys:
    authentication: [{label: a, key: auth.key, certificate: auth.crt}]
    signing: [{key: sign.key, certificate: sign.crt, member: 'EE:GOV:2'}]
";

#[test]
fn keys_go_into_the_token_once() {
    let bench = Bench::new();
    bench.put("pin", "1234\n");
    let (auth, sign) = (bench.put_pair("auth", Role::Authentication), bench.put_pair("sign", Role::Signing));
    let lines = bench.apply(KEYS).unwrap();
    let label = sign.subject();
    let signing = format!("+ signing key {label} of MEMBER:EE/GOV/2");
    assert_eq!(lines[..3], ["+ token", "+ authentication key a", &signing]);

    let token = SoftwareSigner::open(&bench.0.path().join("data/keys")).unwrap();
    token.login("1234", NOW).unwrap();
    let found: Vec<_> = token
        .keys()
        .into_iter()
        .flat_map(|key| key.certs.into_iter().map(move |c| (key.usage, c.cert)))
        .collect();
    assert_eq!(found, [(KeyUsage::Authentication, auth), (KeyUsage::Signing, sign)]);

    assert_eq!(bench.apply(KEYS).unwrap(), Vec::<String>::new());
    bench.put_pair("auth", Role::Authentication);
    bench.put("pin", "wrong");
    let problem = bench.apply(KEYS).unwrap_err();
    assert!(problem.contains("servers[0].pin: the PIN is wrong"), "{problem}");
}

#[test]
fn keys_that_do_not_fit_are_refused_before_anything_is_changed() {
    let bench = Bench::new();
    bench.put("pin", "1234");
    let cases: [(&str, [Role; 2], &str); 2] = [
        (
            "a signing certificate",
            [Role::Signing, Role::Signing],
            "authentication[0]: the certificate is not one for authentication",
        ),
        (
            "an authentication certificate",
            [Role::Authentication, Role::Authentication],
            "signing[0]: the certificate is not one for signing",
        ),
    ];
    for (name, [auth, sign], expected) in cases {
        bench.put_pair("auth", auth);
        bench.put_pair("sign", sign);
        let problem = bench.apply(KEYS).expect_err(name);
        assert!(problem.contains(expected), "{name}: {problem}");
    }
    bench.put_pair("auth", Role::Authentication);
    bench.put_pair("other", Role::Signing);
    bench.put_pair("sign", Role::Signing);
    let problem = bench.apply(&KEYS.replace("sign.crt", "other.crt")).unwrap_err();
    assert!(problem.contains("signing[0]: the certificate is not one of this key"), "{problem}");
    let later = run(&bench.options(), "test", NOW.plus(crate::testing::DAY * 4000)).unwrap_err();
    assert!(later.to_string().contains("has expired"), "{later}");
    assert!(!bench.0.path().join("data").exists());
}

/// What `deploy/` shows works as it stands, given the files it names.
#[test]
fn the_sample_in_deploy_is_applied() {
    let bench = Bench::new();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/server.yaml");
    bench.put("token-pin", "1234");
    bench.put("information-system.crt", &ca().tls("is").1.to_pem());
    bench.put_pair("auth", Role::Authentication);
    bench.put_pair("sign", Role::Signing);
    let source = proto::globalconf::anchor::AnchorSource {
        url: "http://cs.example.org/internalconf".into(),
        verification_certs: vec![ca().cert.der().to_vec()],
    };
    let anchor = Anchor { generated_at: Some(NOW), instance: "EE".into(), sources: vec![source] };
    let anchor = String::from_utf8(anchor.write().unwrap()).unwrap();
    bench.put("configuration-anchor.xml", &anchor);

    let yaml = fs::read_to_string(sample).unwrap();
    let lines = bench.apply(&yaml).unwrap();
    assert!(lines.contains(&"+ configuration anchor".to_owned()), "{lines:#?}");
    assert_eq!(fs::read_to_string(bench.0.path().join("data/configuration-anchor.xml")).unwrap(), anchor);
    assert_eq!(bench.apply(&yaml).unwrap(), Vec::<String>::new());
    let pruned = bench.apply_with(&yaml, &Options { prune: true, ..bench.options() }).unwrap();
    assert_eq!(pruned, Vec::<String>::new(), "the file names everything that it brought");
}

#[test]
fn a_dry_run_writes_nothing_to_the_data_folder() {
    let bench = Bench::new();
    let dry = Options { dry_run: true, ..bench.options() };
    assert!(!bench.apply_with(YAML, &dry).unwrap().is_empty());
    assert!(!dry.data_dir.exists(), "not even the folder");

    bench.apply(YAML).unwrap();
    let written = || {
        let mut files: Vec<_> = files_in(&dry.data_dir.join("state"));
        files.sort();
        files
    };
    let before = written();
    assert!(!before.is_empty());
    assert_eq!(bench.apply_with(YAML, &dry).unwrap(), [""; 0], "nothing is left to do");
    assert_eq!(written(), before);
}

/// Every file in a folder and below, with when it was last written.
fn files_in(folder: &Path) -> Vec<(PathBuf, SystemTime)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match fs::metadata(&path).unwrap() {
            there if there.is_dir() => files_in(&path),
            there => vec![(path, there.modified().unwrap())],
        })
        .collect()
}
