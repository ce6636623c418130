//! A whole instance by the command line alone: a central server, the security server of the management services, another security server,
//! trust services of the sandbox. Once verb by verb, once from one file.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use host::clock::Clock;
use pki::csr::Usage;
use pki::key::KeyKind;
use sandbox::authority::Authority;
use sandbox::loopback::Claim;
use sandbox::ocsp_responder::OcspResponder;
use sandbox::tsa::Tsa;

use crate::scene::{Running, Scene};

/// A CA that signs whatever lies as NAME.csr in the folder, its responder and TSA, addresses for three servers.
pub(crate) struct Instance {
    pub(crate) scene: Scene,
    hosts: [Claim; 3],
    authority: Arc<Authority>,
    urls: (String, String),
    stop: Arc<AtomicBool>,
    _trust: (OcspResponder, Tsa, tokio::runtime::Runtime),
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Instance {
    pub(crate) fn new() -> Self {
        let scene = Scene::new();
        let hosts = Claim::take_all([None, None, None]).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let at = |port: u16| SocketAddr::from((hosts[0].v4(), port));
        let url = format!("http://{}", at(8888));
        let authority = Arc::new(
            Authority::open(&scene.path("authority"), KeyKind::P256, &url, Clock::System.now()).unwrap(),
        );
        let ocsp =
            runtime.block_on(OcspResponder::start(at(8888), Arc::clone(&authority), Clock::System)).unwrap();
        let tsa = runtime.block_on(Tsa::start(at(8899), Arc::clone(&authority), Clock::System)).unwrap();
        for (name, certificate) in [
            ("ca.der", authority.root()),
            ("sub.der", authority.intermediate()),
            ("tsa.der", &authority.tsa().cert),
        ] {
            std::fs::write(scene.path(name), certificate.der()).unwrap();
        }
        let urls = (ocsp.url(), tsa.url());
        let stop = Arc::new(AtomicBool::new(false));
        Self { scene, hosts, authority, urls, stop, _trust: (ocsp, tsa, runtime) }
    }

    fn central(&self) -> Running {
        let host = self.hosts[0].v4();
        let settings = format!(
            "health-check-listen = 'off'\n[center]\nhttp-listen = '{host}:8080'\nhttps-listen = 'off'\n\
             [admin-service]\ninternal-key-algorithm = 'EC'\nexternal-key-algorithm = 'EC'\n\
             [management-api]\nlisten = '{host}:0'\nrate-limit-requests-per-second = -1\nrate-limit-requests-per-minute = -1\n\
             [management-service]\nregistration-listen = '{host}:4001'\nmanagement-listen = '{host}:4002'\n\
             registration-requests-per-minute = -1\n"
        );
        self.scene.server("central-server", "cs", &settings, &crate::scene::ALL_ROLES)
    }

    fn security(&self, target: &str, host: usize) -> Running {
        let host = self.hosts[host].v4();
        let settings = format!(
            "health-check-listen = 'off'\n[proxy]\nclient-http-listen = '{host}:0'\nclient-https-listen = 'off'\n\
             server-listen = '{host}:5500'\nocsp-responder-listen = '{host}:5577'\n\
             [configuration-client]\nupdate-interval = 1\n\
             [signer]\nauthentication-key-algorithm = 'EC'\nsigning-key-algorithm = 'EC'\nocsp-retry-delay = 1\n\
             [management-api]\nlisten = '{host}:0'\nrate-limit-requests-per-second = -1\nrate-limit-requests-per-minute = -1\n"
        );
        let roles =
            ["security-officer", "registration-officer", "system-administrator", "service-administrator"];
        self.scene.server("security-server", target, &settings, &roles)
    }

    pub(crate) fn host(&self, number: usize) -> String {
        self.hosts[number].v4().to_string()
    }

    /// NAME.csr becomes NAME, which is a certificate.
    pub(crate) fn sign(&self, name: &str, usage: Usage) {
        let csr = std::fs::read(self.scene.path(&format!("{name}.csr"))).unwrap();
        let cert = self.authority.certify(&csr, usage, Clock::System.now()).unwrap();
        std::fs::write(self.scene.path(name), cert.to_pem()).unwrap();
    }

    pub(crate) fn type_in(&self, line: &str) {
        let done = self.scene.type_in(line);
        let log = |name: &str| std::fs::read_to_string(self.scene.path(name)).unwrap_or_default();
        let tail =
            |text: String| text.lines().rev().take(12).map(|line| format!("{line}\n")).collect::<String>();
        assert_eq!(
            done.code,
            0,
            "{line}:\n{}{}\nss0:\n{}\nss1:\n{}",
            done.out,
            done.err,
            tail(log("ss0.log")),
            tail(log("ss1.log"))
        );
    }
}

#[test]
fn an_instance_verb_by_verb() {
    let instance = Instance::new();
    let (_cs, _ss0) = (instance.central(), instance.security("ss0", 1));
    let (ocsp, tsa) = instance.urls.clone();
    let at = |host: usize| instance.host(host);
    for line in [
        &format!("cs server init --instance DEV --address {}:8080 --pin-file pin", at(0)) as &str,
        "cs token login 0 --pin-file pin --ensure",
        "cs member-class add COM Commercial",
        "cs member add COM:1234 Operator",
        "cs subsystem add COM:1234:MANAGEMENT",
        "cs management provider set COM:1234:MANAGEMENT",
        "cs ca add ca.der --profile fivrk --csr-format der",
        "cs ca intermediate add 1 sub.der",
        &format!("cs ca ocsp add 1 {ocsp}"),
        &format!("cs ca ocsp add 1 {ocsp} --intermediate NUMBER"),
        &format!("cs tsa add {tsa} tsa.der"),
        "cs key add --source internal",
        "cs key add --source external",
        "cs anchor download -o anchor.xml",
        // The security server.
        "ss anchor preview anchor.xml",
        "ss anchor upload anchor.xml --wait=1m",
        "ss anchor upload anchor.xml --ensure",
        "ss server init --owner COM:1234 --code SS0 --pin-file pin --yes",
        "ss server init --owner COM:1234 --code SS0 --pin-file pin --ensure",
        "ss token login 0 --pin-file pin --ensure",
        "ss member name COM:1234",
        &format!("ss csr create --usage auth -o auth.csr --host {}", at(1)),
        &format!("ss csr create --usage sign -o sign.csr --field subjectAltName={}", at(1)),
    ] {
        let number = || instance.scene.type_in("cs ca intermediate list 1 -q").ok().out;
        match line.contains("NUMBER") {
            true => instance.type_in(&line.replace("NUMBER", number().trim())),
            false => instance.type_in(line),
        }
    }
    instance.sign("auth", Usage::Authentication);
    instance.sign("sign", Usage::Signing);
    instance.type_in("ss cert import auth sign");
    instance.type_in("ss cert list");
    instance.type_in(&format!("ss cert register --address {}", at(1)));
    let waiting = instance.scene.type_in("cs request list --status waiting -q").ok().out;
    instance.type_in(&format!("cs request approve {}", waiting.trim()));
    instance.type_in(&format!("ss cert register --address {} --ensure --wait=1m", at(1)));
    instance.type_in("ss cert activate --usage auth --ensure");
    instance.type_in("ss tsa add --all");
    instance.type_in("cs management provider register COM:1234:SS0 --ensure");
    instance.type_in("ss client add COM:1234:MANAGEMENT --connection https-no-auth --yes --wait=1m");
    let list = instance.scene.type_in("ss client list").ok();
    assert!(list.out.contains("DEV:COM:1234:MANAGEMENT"), "{}", list.out);
    let expiring = instance.scene.type_in("ss cert expiring --within 30d --json").ok();
    assert_eq!(expiring.json(), serde_json::json!([]));

    // A REST service with an endpoint, a group, rights.
    for line in [
        "ss client add COM:1234:PETS --connection http --yes",
        "ss service add COM:1234:PETS --rest http://127.0.0.1:9/api --code pets --enable",
        "ss endpoint add pets GET /pets/*",
        "ss endpoint add pets GET /pets/* --ensure",
        "ss group add COM:1234:PETS friends \"Who is friendly\"",
        "ss group member add friends COM:1234:MANAGEMENT",
        "ss access grant COM:1234:PETS:pets --to COM:1234:MANAGEMENT --to LOCALGROUP:friends",
        "ss access grant COM:1234:PETS:pets --to COM:1234:MANAGEMENT --ensure",
        "ss service set pets --timeout 30",
    ] {
        instance.type_in(line);
    }
    let who = instance.scene.type_in("ss access who pets -q").ok().out;
    assert_eq!(who.lines().count(), 2, "{who}");
    instance.scene.type_in("ss endpoint list pets").ok().says("/pets/*");
    instance.scene.type_in("ss service list COM:1234:PETS").ok().says("http://127.0.0.1:9/api");
    instance.scene.type_in("ss client add COM:1234:PETS --yes").gives(1).says("client_already_exists");

    // The rest of the tables, as far as one server goes.
    instance.scene.private("pin2", "Other5678");
    for line in [
        "ss server status",
        "ss server version",
        "ss server node-type",
        "ss server-tls show",
        "ss server-tls export -o certs.tar.gz",
        "ss anchor show",
        "ss anchor download -o again.xml",
        "ss tsa list",
        "ss tsa approved",
        "ss ca list --intermediate",
        "ss ca fields \"Causeway Sandbox Root CA\" --usage sign --member COM:1234",
        "ss member-class list",
        "ss security-server list --current",
        "ss diagnostics show",
        "ss diagnostics ocsp",
        "ss diagnostics tsa",
        "ss token list",
        "ss token pin 0 --old-pin-file pin --new-pin-file pin2",
        "ss token login 0 --pin-file pin2 --ensure",
        "ss key list",
        "ss key rename authentication auth-key",
        "ss key show auth-key",
        "ss csr list",
        "ss client show COM:1234:PETS",
        "ss client connection COM:1234:PETS https",
        "ss client list --all",
        "ss tls add COM:1234:PETS auth",
        "ss tls list COM:1234:PETS",
        "ss group list COM:1234:PETS",
        "ss group describe friends \"Who is friendly now\"",
        "ss group show friends",
        "ss service disable pets --notice Later",
        "ss service enable pets",
        "ss service show pets",
        "ss access list COM:1234:PETS",
        "ss access what COM:1234:PETS COM:1234:MANAGEMENT",
        "ss access revoke COM:1234:PETS:pets --from LOCALGROUP:friends",
        "ss access grant COM:1234:PETS:pets --to LOCALGROUP:friends",
    ] {
        instance.type_in(line);
    }
    // What is wrong is found with what to do: nobody was asked to approve PETS.
    let diagnosis = instance.scene.type_in("diagnose --json");
    let checks = diagnosis.json();
    let all: Vec<&serde_json::Value> = checks.as_array().unwrap().iter().collect();
    let of = |outcome: &str| all.iter().filter(|check| check["outcome"] == outcome).count();
    assert!(of("ok") >= 8 && of("warn") >= 1, "{checks:#}");
    assert!(
        all.iter()
            .all(|check| check["outcome"] == "ok" || check["outcome"] == "skip" || check["remedy"] != ""),
        "{checks:#}"
    );
    assert_eq!(diagnosis.code, i32::from(of("fail") > 0), "{checks:#}");
    instance
        .scene
        .type_in("diagnose --from COM:1234:MANAGEMENT --to COM:9:X:y")
        .gives(1)
        .says("is not in the configuration");
    instance.type_in("wait client COM:1234:MANAGEMENT --for 10s");
    instance.scene.type_in("wait client COM:1234:PETS --for 1s").gives(5).says("still");
    let words = instance.scene.run(["__complete", "--", "ss", "client", "show", "DEV:COM:1234:P"]).ok();
    assert_eq!(words.out, "DEV:COM:1234:PETS\n");

    // As a file: what is exported changes nothing, and what is changed in it is all that changes.
    instance.type_in("export -f exported.yaml");
    let diff = instance.scene.type_in("diff -f exported.yaml --prune");
    assert_eq!((diff.code, diff.out.as_str()), (0, ""), "{}", diff.err);
    instance.type_in("apply -f exported.yaml --prune");
    let text = std::fs::read_to_string(instance.scene.path("exported.yaml")).unwrap();
    std::fs::write(instance.scene.path("changed.yaml"), text.replace("timeout: 30", "timeout: 31")).unwrap();
    let diff = instance.scene.type_in("diff -f changed.yaml").gives(6);
    assert_eq!(diff.out, "~ ss0 service DEV:COM:1234:PETS:pets settings\n");
    let backup = instance.scene.type_in("ss backup create --json").ok().json();
    instance.type_in("apply -f changed.yaml");
    instance.scene.type_in("ss service show pets").ok().says("31");

    // Back to before the change: the server starts again, its token waits for the PIN, and all else is as it was.
    let backup = backup["filename"].as_str().unwrap();
    instance.scene.run(["ss", "backup", "restore", backup, "--yes"]).ok().says("answers again");
    instance.type_in("ss token login 0 --pin-file pin2");
    instance.type_in("wait client COM:1234:MANAGEMENT --for 30s");
    let diff = instance.scene.type_in("diff -f changed.yaml").gives(6);
    assert_eq!(diff.out, "~ ss0 service DEV:COM:1234:PETS:pets settings\n");
    instance.scene.type_in("ss backup list -q").ok().says("conf_prerestore_backup");
}

const ECOSYSTEM: &str = "
instance: DEV
approve: auto
central:
  target: cs
  address: CSHOST:8080
  pin: {file: pin}
  member-classes: [{code: COM, description: Commercial}]
  members:
  - {id: 'COM:1234', name: Operator, subsystems: [{code: MANAGEMENT}]}
  - {id: 'COM:4321', name: Member}
  certification-services:
  - certificate: ca.der
    profile: fivrk
    ocsp: [{url: 'OCSP'}]
    intermediates: [{certificate: sub.der, ocsp: [{url: 'OCSP'}]}]
  timestamping: [{url: 'TSA', certificate: tsa.der}]
  management: {provider: 'COM:1234:MANAGEMENT', server: 'COM:1234:SS0'}
  signing-keys: {internal: 1, external: 1}
servers:
- target: ss0
  owner: COM:1234
  code: SS0
  address: SS0
  pin: {file: pin}
  anchor: central
  timestamping: all
  keys:
    authentication: [{label: auth, certificate: {command: SIGN ss0-auth}}]
    signing: [{label: sign, certificate: {command: SIGN ss0-sign}}]
  clients:
  - id: COM:1234:MANAGEMENT
    connection: HTTPS_NO_AUTH
    services:
SERVICES
- target: ss1
  owner: COM:4321
  code: SS1
  address: SS1
  pin: {file: pin}
  timestamping: all
  keys:
    authentication: [{label: auth, certificate: {command: SIGN ss1-auth}}]
    signing: [{label: sign, certificate: {command: SIGN ss1-sign}}]
  clients:
  - id: COM:4321:TEST
    connection: HTTP
    groups: [{code: friends, description: Friends, members: ['COM:1234:MANAGEMENT']}]
    services:
    - type: REST
      url: http://127.0.0.1:9/api
      code: pets
      timeout: 20
      enabled: true
      access: ['LOCALGROUP:friends']
      endpoints: [{method: GET, path: '/pets/*', access: ['COM:1234:MANAGEMENT']}]
";

/// The management services, as the file of their provider has them.
fn management_services(host: &str) -> String {
    let codes = [
        "clientReg",
        "clientDeletion",
        "authCertDeletion",
        "ownerChange",
        "addressChange",
        "clientDisable",
        "clientEnable",
        "clientRename",
        "maintenanceModeEnable",
        "maintenanceModeDisable",
    ];
    let one = |code: &str| {
        format!(
            "    - {{type: WSDL, url: 'http://{host}:8080/managementservices.wsdl', service-url: 'https://{host}:4002/managementservice/manage/', \
             code: {code}, verify-tls: false, enabled: true, access: ['GLOBALGROUP:security-server-owners']}}\n"
        )
    };
    codes.map(one).concat()
}

/// Whoever has no program for the CA signs by hand, and somebody else approves: each run goes as far as it can.
#[test]
fn what_waits_for_people_is_left_to_another_run() {
    let instance = Instance::new();
    let (_cs, _ss0) = (instance.central(), instance.security("ss0", 1));
    let (ocsp, tsa) = instance.urls.clone();
    let text = ECOSYSTEM
        .split("- target: ss1")
        .next()
        .unwrap()
        .replace("approve: auto", "approve: skip")
        .replace("SERVICES\n", "      []\n")
        .replace("CSHOST:8080", &format!("{}:8080", instance.host(0)))
        .replace("address: SS0", &format!("address: {}", instance.host(1)))
        .replace("OCSP'", &format!("{ocsp}'"))
        .replace("'TSA'", &format!("'{tsa}'"))
        .replace("{command: SIGN ss0-auth}", "{file: auth.pem}")
        .replace("{command: SIGN ss0-sign}", "{file: sign.pem}");
    std::fs::write(instance.scene.path("e.yaml"), text).unwrap();
    let left = instance.scene.type_in("apply -f e.yaml --yes --wait=30s").gives(6);
    assert!(
        left.err.contains("sign.pem.csr signed") && left.err.contains("auth.pem.csr signed"),
        "{}",
        left.err
    );
    instance.sign("sign.pem", Usage::Signing);
    instance.sign("auth.pem", Usage::Authentication);
    instance.scene.type_in("apply -f e.yaml --yes --wait=30s").gives(6).says("waits for its approval");
    let waiting = instance.scene.type_in("cs request list --status waiting -q").ok().out;
    instance.type_in(&format!("cs request approve {}", waiting.trim()));
    instance.type_in("wait configuration --for 30s");
    let hash = instance.scene.type_in("ss cert list --jsonl").ok().out;
    let auth = hash.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let auth = auth
        .filter(|cert| cert["usage"] == "AUTHENTICATION")
        .map(|cert| cert["certificate_details"]["hash"].clone());
    let auth: Vec<_> = auth.collect();
    instance.type_in(&format!("wait certificate {} --for 60s", auth[0].as_str().unwrap()));
    // The provider's client is in the configuration as soon as it is registered, so nothing waits for people any more.
    let text = std::fs::read_to_string(instance.scene.path("e.yaml"))
        .unwrap()
        .replace("approve: skip", "approve: wait");
    std::fs::write(instance.scene.path("e.yaml"), text).unwrap();
    instance.type_in("apply -f e.yaml --yes --wait=1m");
    assert_eq!(instance.scene.type_in("diff -f e.yaml").ok().out, "");
}

/// A central server, the server of the management services and another one, all from one file, `e.yaml`.
pub(crate) fn from_one_file(instance: &Instance) -> [Running; 3] {
    let servers = [instance.central(), instance.security("ss0", 1), instance.security("ss1", 2)];
    apply(instance, ECOSYSTEM);
    servers
}

/// The same with a third server that is empty, and a central server that knows the subsystem `COM:1234:ASKING` besides.
pub(crate) fn with_an_empty_server(instance: &Instance) -> [Running; 3] {
    let servers = [instance.central(), instance.security("ss0", 1), instance.security("ss1", 2)];
    let text = ECOSYSTEM.split("- target: ss1").next().unwrap();
    apply(instance, &text.replace("{code: MANAGEMENT}", "{code: MANAGEMENT}, {code: ASKING}"));
    servers
}

/// Applies an ecosystem whose CA is another program.
fn apply(instance: &Instance, text: &str) {
    let (ocsp, tsa) = instance.urls.clone();
    let folder = instance.scene.dir.path().display().to_string();
    // The CA is another program: it gets the request and prints the certificate.
    let script = format!(
        "#!/bin/sh\ncat > {folder}/$1.part && mv {folder}/$1.part {folder}/$1.csr\n\
         n=0\nwhile [ ! -s {folder}/$1.done ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done\ncat {folder}/$1\n"
    );
    std::fs::write(instance.scene.path("sign.sh"), script).unwrap();
    let text = text
        .replace("SERVICES\n", &management_services(&instance.host(0)))
        .replace("CSHOST", &instance.host(0))
        .replace("address: SS0", &format!("address: {}", instance.host(1)))
        .replace("address: SS1", &format!("address: {}", instance.host(2)))
        .replace("OCSP'", &format!("{ocsp}'"))
        .replace("'TSA'", &format!("'{tsa}'"))
        .replace("SIGN ", &format!("sh {folder}/sign.sh "));
    std::fs::write(instance.scene.path("e.yaml"), text).unwrap();
    let (stop, authority, dir) =
        (Arc::clone(&instance.stop), Arc::clone(&instance.authority), instance.scene.dir.path().to_owned());
    let signing = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            for (name, usage) in [
                ("ss0-auth", Usage::Authentication),
                ("ss0-sign", Usage::Signing),
                ("ss1-auth", Usage::Authentication),
                ("ss1-sign", Usage::Signing),
            ] {
                let csr = dir.join(format!("{name}.csr"));
                if csr.exists() && !dir.join(name).exists() {
                    let cert =
                        authority.certify(&std::fs::read(csr).unwrap(), usage, Clock::System.now()).unwrap();
                    std::fs::write(dir.join(name), cert.to_pem()).unwrap();
                    std::fs::write(dir.join(format!("{name}.done")), "yes").unwrap();
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    instance.scene.type_in("apply -f e.yaml --dry-run").gives(6);
    instance.type_in("apply -f e.yaml --wait=2m --yes");
    instance.stop.store(true, Ordering::Relaxed);
    signing.join().unwrap();
}

/// An external anchor comes by the file and goes with it; the instance's own will do, as any that can be downloaded by.
fn trusted_anchors(instance: &Instance) {
    let scene = &instance.scene;
    instance.type_in("cs anchor download --source external -o other.xml");
    let text = std::fs::read_to_string(scene.path("e.yaml")).unwrap();
    let with = text.replace("  signing-keys:", "  trusted-anchors: [other.xml]\n  signing-keys:");
    std::fs::write(scene.path("with.yaml"), with).unwrap();
    let diff = scene.type_in("diff -f with.yaml").gives(6);
    assert!(
        diff.out.starts_with("+ cs trusted-anchor DEV ") && diff.out.lines().count() == 1,
        "{}",
        diff.out
    );
    instance.type_in("apply -f with.yaml --yes");
    assert_eq!(scene.type_in("diff -f with.yaml").ok().out, "");
    scene.type_in("cs trusted-anchor list").ok().says("DEV");
    instance.type_in("export -f anchors.yaml cs");
    assert_eq!(scene.type_in("diff -f anchors.yaml --only trusted-anchor --prune").ok().out, "");
    assert_eq!(scene.type_in("diff -f e.yaml").ok().out, "", "what the file does not name stays");
    let diff = scene.type_in("diff -f e.yaml --prune").gives(6);
    assert!(
        diff.out.starts_with("- cs trusted-anchor DEV ") && diff.out.lines().count() == 1,
        "{}",
        diff.out
    );
    instance.type_in("apply -f e.yaml --prune --yes");
    assert_eq!(scene.type_in("diff -f e.yaml --prune").ok().out, "");
}

#[test]
fn an_instance_from_one_file() {
    let instance = Instance::new();
    let _servers = from_one_file(&instance);
    let diff = instance.scene.type_in("diff -f e.yaml");
    assert_eq!((diff.code, diff.out.as_str()), (0, ""), "{}", diff.err);
    instance.scene.type_in("ss client show COM:4321:TEST -t ss1").ok().says("REGISTERED");
    instance.type_in("export -f exported.yaml");
    let diff = instance.scene.type_in("diff -f exported.yaml --prune");
    assert_eq!((diff.code, diff.out.as_str()), (0, ""), "{}", diff.err);
    trusted_anchors(&instance);
    // What is meant by name alone goes by name alone, and nothing else with it.
    let diff = instance.scene.type_in("diff -f e.yaml --prune-only token").gives(2);
    assert!(diff.err.contains("token is nothing to prune"), "{}", diff.err);
    instance.type_in("cs member add COM:9 Passing");
    instance.type_in("cs subsystem add COM:9:BY");
    instance.type_in("ss key add --label spare -t ss1");
    let diff = instance.scene.type_in("diff -f e.yaml --prune");
    assert_eq!((diff.code, diff.out.as_str()), (0, ""), "{}", diff.err);
    let diff = instance.scene.type_in("diff -f e.yaml --prune-only member,subsystem,key").gives(6);
    let gone = "- ss1 key \"spare\" for nothing yet\n- cs subsystem DEV:COM:9:BY\n- cs member DEV:COM:9\n";
    assert_eq!(diff.out, gone);
    instance.type_in("apply -f e.yaml --prune-only member,subsystem,key --yes");
    let diff = instance.scene.type_in("diff -f e.yaml --prune-only member,subsystem,key");
    assert_eq!((diff.code, diff.out.as_str()), (0, ""), "{}", diff.err);
    // As the toolkit writes it; keys have other labels there.
    instance.type_in("cs anchor download -o anchor.xml");
    instance.type_in("export --format xrdsst -f toolkit.yaml ss1");
    let text = std::fs::read_to_string(instance.scene.path("toolkit.yaml")).unwrap();
    let text = text.replace("- name: ss1\n", "- name: ss1\n  configuration_anchor: anchor.xml\n");
    std::fs::write(instance.scene.path("toolkit.yaml"), text).unwrap();
    let kinds = "client,local-group,service,endpoint,access";
    let diff = instance.scene.type_in(&format!("diff -f toolkit.yaml --format xrdsst --only {kinds}"));
    assert_eq!((diff.code, diff.out.as_str()), (0, ""), "{}", diff.err);
    let diff = instance.scene.type_in("diff -f toolkit.yaml --format xrdsst").gives(6);
    assert!(diff.out.starts_with("+ ss1 key \"ss1-default-sign-key\" for signing\n"), "{}", diff.out);
}
