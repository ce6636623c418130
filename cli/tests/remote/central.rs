//! The journeys of a new central server.

use crate::scene::Scene;

/// A CA, its OCSP responder and a TSA as files.
pub(crate) fn trust(scene: &Scene) {
    let now = proto::time::UnixTime::from_secs(1_795_285_600);
    let dir = scene.path("authority");
    let authority =
        sandbox::authority::Authority::open(&dir, pki::key::KeyKind::P256, "http://ca:8888", now).unwrap();
    for (name, certificate) in [
        ("ca.der", authority.root()),
        ("ocsp.der", authority.responder()),
        ("tsa.der", &authority.tsa().cert),
    ] {
        std::fs::write(scene.path(name), certificate.der()).unwrap();
    }
}

#[test]
fn a_new_central_server_is_set_up_and_everything_can_be_said_twice() {
    let scene = Scene::new();
    let _server = scene.central("cs");
    trust(&scene);
    let setup = [
        "cs server init --instance DEV --address cs.example.org --pin-file pin --ensure",
        "cs token login 0 --pin-file pin --ensure",
        "cs member-class add COM Commercial --ensure",
        "cs member add COM:1234 \"Test member\" --ensure",
        "cs subsystem add COM:1234:MANAGEMENT --ensure",
        "cs management provider set COM:1234:MANAGEMENT",
        "cs group add friends \"Who is friendly\" --ensure",
        "cs group member add friends COM:1234:MANAGEMENT",
    ];
    for round in 1..=2 {
        for line in setup {
            let done = scene.type_in(line);
            assert_eq!(done.code, 0, "round {round}: {line}: {}", done.err);
        }
    }
    scene.type_in("cs member add COM:1234 \"Test member\"").gives(1).says("member_exists");
    scene.type_in("cs key add --source internal").ok();
    scene.type_in("cs key add --source external").ok();
    scene.type_in("cs ca add ca.der --profile fivrk --csr-format der").ok();
    scene.type_in("cs ca ocsp add 1 http://ca:8888 --cert ocsp.der").ok();
    scene.type_in("cs tsa add http://ca:8899 tsa.der").ok();
    scene.type_in("cs anchor download -o anchor.xml").ok();
    assert!(std::fs::read_to_string(scene.path("anchor.xml")).unwrap().contains("DEV"));

    let members = scene.type_in("cs member list --json").ok().json();
    assert_eq!(members["clients"][0]["client_id"]["encoded_id"], "DEV:COM:1234");
    assert_eq!(scene.type_in("cs member list -q").ok().out, "DEV:COM:1234\n");
    let table = scene.type_in("cs member list --columns name,id").ok().out;
    assert_eq!(table, "NAME         ID\nTest member  DEV:COM:1234\n");
    scene.type_in("cs member list --columns colour").gives(2).says("there are: id, name, type");
    let cas = scene.type_in("cs ca list --jsonl").ok().out;
    let ca: serde_json::Value = serde_json::from_str(cas.trim()).unwrap();
    scene
        .run(["cs", "ca", "show", ca["name"].as_str().unwrap()])
        .ok()
        .says("FiVRKCertificateProfileInfoProvider");
    scene.type_in("cs ca ocsp list 1").ok().says("http://ca:8888");
    scene.type_in("cs group member list friends").ok().says("DEV:COM:1234:MANAGEMENT");
    scene.type_in("cs management show").ok().says("DEV:COM:1234:MANAGEMENT");
    scene.type_in("cs server init --instance DEV --pin 1234").gives(2).says("unexpected argument");
}

#[test]
fn members_come_from_a_file() {
    let scene = Scene::new();
    let _server = scene.central("cs");
    scene.type_in("cs server init --instance DEV --address cs --pin-file pin").ok();
    scene.type_in("cs member-class add COM Commercial").ok();
    std::fs::write(scene.path("members.csv"), "id,name\nCOM:1,One\nCOM:2,\"Two, Ltd\"\n").unwrap();
    scene.type_in("cs member add -f members.csv").ok();
    scene.type_in("cs member list").ok().says("Two, Ltd");
    scene.type_in("cs member add -f members.csv").gives(1).says("row 1");
    scene.type_in("cs member add -f members.csv --ensure").ok();
    std::fs::write(scene.path("wrong.csv"), "id,colour\nCOM:3,red\n").unwrap();
    scene.type_in("cs member add -f wrong.csv").gives(2).says("colour is no parameter; there are: id, name");
    // More than a page.
    let many: String = (100..350).map(|n| format!("{{\"id\":\"COM:{n}\",\"name\":\"M{n}\"}}\n")).collect();
    std::fs::write(scene.path("many.jsonl"), many).unwrap();
    scene.type_in("cs member add -f many.jsonl").ok();
    assert_eq!(scene.type_in("cs member list -q").ok().out.lines().count(), 252);
}

#[test]
fn a_central_server_goes_back_to_a_backup_and_a_lost_one_is_made_anew_from_it() {
    let scene = Scene::new();
    let _server = scene.central("cs");
    scene.type_in("cs server init --instance DEV --address cs --pin-file pin").ok();
    scene.type_in("cs member-class add COM Commercial").ok();
    scene.type_in("cs member add COM:1 One").ok();
    let made = scene.type_in("cs backup create --download kept.gpg --json").ok().json();
    let name = made["filename"].as_str().unwrap();
    assert_eq!(made["bytes"], std::fs::metadata(scene.path("kept.gpg")).unwrap().len());
    scene.type_in("cs backup list -q").ok().says(name);
    scene.type_in("cs member add COM:2 Two").ok();

    scene.run(["cs", "backup", "restore", name]).gives(2).says("--yes");
    assert_eq!(scene.type_in("cs member list -q").ok().out, "DEV:COM:1\nDEV:COM:2\n");
    let restored = scene.run(["cs", "backup", "restore", name, "--yes", "--json"]).ok();
    let restored = restored.says("answers again").json();
    assert_eq!(restored["hsm_tokens_logged_out"], false);
    assert_eq!(scene.type_in("cs member list -q").ok().out, "DEV:COM:1\n");
    scene.type_in("cs token login 0 --pin-file pin").ok();
    scene.type_in("cs key add --source internal").ok();
    let before = scene.type_in("cs backup list -q").ok().out;
    let before = before.lines().find(|name| name.starts_with("conf_prerestore")).unwrap();
    scene.run(["cs", "backup", "restore", before, "--yes"]).ok();
    assert_eq!(scene.type_in("cs member list -q").ok().out, "DEV:COM:1\nDEV:COM:2\n", "it can be undone");

    scene.type_in("cs backup upload kept.gpg").ok();
    scene.type_in("cs backup upload kept.gpg --yes").ok().says("warning_file_already_exists");
    scene.type_in("cs backup delete kept.gpg").ok();
    scene.type_in("cs backup delete kept.gpg").gives(1).says("backup_file_not_found");
    scene.type_in("cs backup delete kept.gpg --ensure").ok();
    scene.type_in("cs backup restore kept.gpg --yes").gives(1).says("backup_file_not_found");
    std::fs::write(scene.path("notes.gpg"), "garbage").unwrap();
    scene.type_in("cs backup upload notes.gpg").gives(1).says("invalid_file_content_type");

    let _other = scene.central("other");
    scene.type_in("cs backup upload kept.gpg -t other").ok();
    scene.type_in("cs backup restore kept.gpg --yes -t other").ok();
    assert_eq!(scene.type_in("cs member list -q -t other").ok().out, "DEV:COM:1\n");
    scene.type_in("cs token login 0 --pin-file pin -t other").ok();
}
