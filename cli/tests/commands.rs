//! Exit statuses and messages of the commands, as scripts and operators see them.

use std::process::{Command, Output};

fn causeway(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_causeway"))
        .args(args)
        .env_remove("RUST_LOG")
        .output()
        .expect("the program is built")
}

#[test]
fn the_exit_status_says_what_kind_of_failure_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let typo = file("typo.toml", "[proxy]\nserver-listn = '127.0.0.1:5500'\n");
    let mistake = file("mistake.yaml", "servers:\n  - owner: EE:GOV\n    code: s1\n");
    let data = dir.path().join("data").to_str().unwrap().to_owned();
    let cases: [(&str, &[&str], i32, &str); 8] = [
        ("no command", &[], 2, "Usage"),
        ("no such command", &["serve"], 2, "serve"),
        ("the version", &["--version"], 0, ""),
        ("no settings file", &["security-server", "--config", "/nonexistent.toml"], 2, "/nonexistent.toml"),
        ("an unknown key", &["security-server", "--config", &typo], 2, "server-listen"),
        ("no description", &["apply", "-f", "/nonexistent.yaml", "--offline", &data], 2, "/nonexistent.yaml"),
        ("a mistake in it", &["apply", "-f", &mistake, "--offline", &data], 2, "EE:GOV"),
        ("no such role", &["config", "sample", "mainframe"], 2, "mainframe"),
    ];
    for (name, args, status, says) in cases {
        let output = causeway(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{name}: {errors}");
        assert!(errors.contains(says), "{name}: {errors}");
    }
    assert!(!std::path::Path::new(&data).exists(), "a mistake changes nothing");
}

#[test]
fn a_sample_is_printed() {
    let output = causeway(&["config", "sample", "security-server"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("[message-log]"));
}

/// What bash offers for a line, by the script that `completion` prints.
fn offered(line: &str, targets: &std::path::Path) -> Vec<String> {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_causeway"));
    let path = format!("{}:{}", program.parent().expect("a folder").display(), env!("PATH"));
    let script = "source <(causeway completion bash); COMP_LINE=$1; COMP_POINT=${#1}; _causeway; \
                  printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = Command::new("bash")
        .args(["-euc", script, "bash", line])
        .env("PATH", path)
        .env("CAUSEWAY_TARGETS", targets)
        .output()
        .expect("there is a shell");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_nouns_verbs_and_flags() {
    if testkit::tools::tool("bash", "completion").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let targets = dir.path().join("targets.toml");
    for (line, word) in [
        ("causeway di", "diagnose"),
        ("causeway ss cl", "client"),
        ("causeway ss client re", "register"),
        ("causeway cs trusted-anchor ", "upload"),
        ("causeway ss token login --pin-", "--pin-file"),
        ("causeway completion ", "zsh"),
    ] {
        let found = offered(line, &targets);
        assert!(found.iter().any(|one| one == word), "{line}: {found:?}");
    }
    assert!(!offered("causeway ss token login --pi", &targets).contains(&"--pin".to_owned()), "a secret");
}
