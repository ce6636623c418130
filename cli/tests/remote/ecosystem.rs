//! `causeway apply`, `diff`, `export` with an ecosystem file.

use crate::central::trust;
use crate::scene::Scene;

const CENTRAL: &str = "\
instance: DEV
vars: {HOST: cs.example.org}
central:
  target: cs
  address: '${HOST}'
  pin: {file: pin}
  member-classes:
  - {code: COM, description: Commercial}
  - {code: GOV, description: Government}
  members:
  - {id: 'COM:1234', name: Operator, subsystems: [{code: MANAGEMENT}]}
  - {id: 'GOV:1', name: Registry, subsystems: [{code: A}, {code: B}]}
  certification-services:
  - {certificate: ca.der, profile: fivrk, csr-format: DER, ocsp: [{url: 'http://ca:8888', certificate: ocsp.der}]}
  timestamping: [{url: 'http://ca:8899', certificate: tsa.der}]
  groups:
  - {code: friends, description: Who is friendly, members: ['GOV:1:A']}
  management: {provider: 'COM:1234:MANAGEMENT'}
  signing-keys: {internal: 1, external: 1}
";

#[test]
fn a_central_server_becomes_what_the_file_says_and_a_second_run_changes_nothing() {
    let scene = Scene::new();
    let _server = scene.central("cs");
    trust(&scene);
    std::fs::write(scene.path("e.yaml"), CENTRAL).unwrap();
    scene.type_in("apply -f e.yaml --dry-run").gives(6).says("+ cs member DEV:GOV:1");
    assert_eq!(scene.type_in("cs member-class list -q").gives(0).out, "", "a dry run changes nothing");
    scene.type_in("apply -f e.yaml").ok().says("+ cs signing-key internal");
    assert_eq!(scene.type_in("apply -f e.yaml").ok().out, "");
    assert_eq!(scene.type_in("diff -f e.yaml").ok().out, "");
    scene.type_in("cs anchor show").ok();

    // What was exported is what is there.
    scene.type_in("export -f exported.yaml cs").ok();
    let exported = std::fs::read_to_string(scene.path("exported.yaml")).unwrap();
    assert!(exported.contains("DEV:GOV:1") && !exported.contains("Secret1234"), "{exported}");
    assert_eq!(scene.type_in("diff -f exported.yaml --prune").ok().out, "");
    assert_eq!(scene.type_in("apply -f exported.yaml --prune").ok().out, "");

    // Changes, removal with --prune alone, one kind alone.
    let changed =
        CENTRAL.replace("name: Registry", "name: The registry").replace("['GOV:1:A']", "['GOV:1:B']");
    std::fs::write(scene.path("e.yaml"), changed).unwrap();
    let lines = scene.type_in("diff -f e.yaml").gives(6).out;
    assert_eq!(lines, "~ cs member DEV:GOV:1 \"The registry\"\n+ cs group-member friends DEV:GOV:1:B\n");
    let pruned = scene.type_in("diff -f e.yaml --prune").gives(6).out;
    assert!(pruned.contains("- cs group-member friends DEV:GOV:1:A\n"), "{pruned}");
    scene.type_in("apply -f e.yaml --only member").ok();
    assert_eq!(scene.type_in("diff -f e.yaml").gives(6).out, "+ cs group-member friends DEV:GOV:1:B\n");
    scene.type_in("apply -f e.yaml --prune").ok();
    assert_eq!(scene.type_in("cs group member list friends -q").ok().out, "DEV:GOV:1:B\n");
}

#[test]
fn a_saved_plan_is_refused_when_anything_has_moved() {
    let scene = Scene::new();
    let _server = scene.central("cs");
    trust(&scene);
    std::fs::write(scene.path("e.yaml"), CENTRAL).unwrap();
    scene.type_in("apply -f e.yaml --only server --only token --only member-class").ok();
    scene.type_in("diff -f e.yaml --save-plan plan.json").gives(6);
    assert!(!std::fs::read_to_string(scene.path("plan.json")).unwrap().contains("Secret1234"));
    scene.type_in("cs member add COM:9 Intruder").ok();
    scene.type_in("apply --plan plan.json").gives(2).says("have changed since the plan was made");
    scene.type_in("apply -f e.yaml --save-plan plan.json").gives(6);
    std::fs::write(scene.path("e.yaml"), format!("{CENTRAL}\n")).unwrap();
    scene.type_in("apply --plan plan.json").gives(2).says("e.yaml has changed");
    std::fs::write(scene.path("e.yaml"), CENTRAL).unwrap();
    scene.type_in("apply --plan plan.json").ok().says("+ cs tsa http://ca:8899");
    assert_eq!(scene.type_in("diff -f e.yaml").ok().out, "");

    // Mistakes in the file are usage, before anything is asked or changed.
    for (from, to, says) in [
        ("target: cs", "target: nobody", "there is no target \"nobody\""),
        ("member-classes", "member-clases", "member-clases"),
        ("ca.der", "missing.der", "missing.der"),
        ("instance: DEV", "instance: OTHER", "is of instance DEV"),
    ] {
        std::fs::write(scene.path("wrong.yaml"), CENTRAL.replace(from, to)).unwrap();
        scene.type_in("diff -f wrong.yaml").gives(2).says(says);
    }
}
