//! A small server's backups: made, judged, restored, and what a crash leaves.

use host::data_dir::DataDir;

use super::*;

const LIMITS: Limits = Limits { bytes: 1 << 20, files: 100 };
const OWNER: &str = "SERVER:EE/GOV/1/ss1";

/// A data directory, opened.
struct Scene {
    _data: DataDir,
    backups: Backups,
    state: Store,
}

fn open(root: &Path, owner: Option<&'static str>) -> Scene {
    let data = DataDir::open(root, "test-server", 1).unwrap();
    let state = Store::open(&data.folder(STATE).unwrap()).unwrap();
    let what = What {
        role: "test-server",
        format: 1,
        root: root.to_owned(),
        state: state.clone(),
        parts: vec![Part::Folder("keys", &["LOCK"]), Part::Files("tls", &["seen"]), Part::File("anchor.xml")],
        owner: Box::new(move || owner.map(str::to_owned)),
        check: |copy| {
            let store = Store::open(&copy.join(STATE)).map_err(|error| error.to_string())?;
            store.get("t", b"k").map_err(|error| error.to_string())?.map(drop).ok_or("no k".into())
        },
        judges_uploads: false,
    };
    let (shutdown, drain) = (Shutdown::default(), Duration::from_secs(1));
    let backups =
        Backups::new(what, LIMITS, Clock::fixed(UnixTime::from_secs(1_795_285_600)), shutdown, drain);
    Scene { _data: data, backups, state }
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn text(root: &Path, path: &str) -> Option<String> {
    std::fs::read_to_string(root.join(path)).ok()
}

/// Files and state as they are before the backup.
fn fill(root: &Path, scene: &Scene) {
    scene.state.commit("t", &[(b"k".to_vec(), Some(b"before".to_vec()))]).unwrap();
    for (path, content) in [
        ("keys/token.json", "before"),
        ("keys/LOCK", "1"),
        ("keys/.tmp", "x"),
        ("tls/internal.key", "before"),
        ("tls/seen", "before"),
        ("token-pin", "1234"),
        ("log/1", "before"),
    ] {
        put(root, path, content);
    }
}

fn value(scene: &Scene) -> String {
    String::from_utf8(scene.state.get("t", b"k").unwrap().unwrap()).unwrap()
}

fn bytes_of(scene: &Scene, name: &str) -> Vec<u8> {
    let (mut file, length) = scene.backups.open(name).unwrap();
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, length);
    bytes
}

/// Restoring waits on a runtime, as on the server's.
fn restore(scene: &Scene, name: &str) -> Result<(), BackupError> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    scene.backups.restore(name)
}

#[test]
fn a_restored_server_finds_the_state_of_the_backup_at_its_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let scene = open(root, Some(OWNER));
    fill(root, &scene);
    let made = scene.backups.create().unwrap();
    assert_eq!(made.name, "conf_backup_20261121-182640.gpg");
    let (file, _) = scene.backups.open(&made.name).unwrap();
    let archive = Archive::open(file, LIMITS).unwrap();
    let held: Vec<_> = archive.manifest().files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        held,
        ["state/snapshot", "keys/token.json", "tls/internal.key"],
        "no PIN and no secret of backups"
    );
    let twice = scene.backups.create().unwrap();
    assert_eq!(twice.name, "conf_backup_20261121-182640_2.gpg");

    scene.state.commit("t", &[(b"k".to_vec(), Some(b"after".to_vec()))]).unwrap();
    for path in ["keys/token.json", "keys/other.key", "tls/internal.key", "tls/seen", "anchor.xml", "log/1"] {
        put(root, path, "after");
    }
    restore(&scene, &made.name).unwrap();
    assert!(scene.backups.shutdown.restarting());
    assert!(matches!(scene.backups.create(), Err(BackupError::Restoring)), "nothing more is promised");
    drop(scene);

    let scene = open(root, Some(OWNER));
    assert_eq!(value(&scene), "before");
    let expected = [
        ("keys/token.json", Some("before")),
        ("keys/other.key", None),
        ("tls/internal.key", Some("before")),
        ("tls/seen", Some("after")),
        ("anchor.xml", None),
        ("log/1", Some("after")),
        ("token-pin", Some("1234")),
    ];
    for (path, content) in expected {
        assert_eq!(text(root, path).as_deref(), content, "{path}");
    }
    // The state from before the restore is a backup too.
    let before = scene.backups.list().unwrap().into_iter().find(|kept| kept.name.contains("prerestore"));
    restore(&scene, &before.unwrap().name).unwrap();
    drop(scene);
    assert_eq!(value(&open(root, Some(OWNER))), "after");
}

#[test]
fn a_server_takes_back_its_own_and_one_that_is_nobody_s_takes_any() {
    let dir = tempfile::tempdir().unwrap();
    let scene = open(dir.path(), Some(OWNER));
    fill(dir.path(), &scene);
    let name = scene.backups.create().unwrap().name;
    let bytes = bytes_of(&scene, &name);

    // Another machine that has the same name has another secret.
    let other = tempfile::tempdir().unwrap();
    let same = open(other.path(), Some(OWNER));
    same.backups.create().unwrap();
    same.backups.upload("a.gpg", &bytes, false).unwrap();
    assert!(matches!(restore(&same, "a.gpg"), Err(BackupError::Unsealed)));
    drop(same);
    let renamed = open(other.path(), Some("SERVER:EE/GOV/2/ss1"));
    assert!(matches!(restore(&renamed, "a.gpg"), Err(BackupError::Foreign { .. })));
    assert!(!renamed.backups.shutdown.stopping(), "a refused restore disturbs nobody");
    assert!(renamed.backups.create().is_ok());
    drop(renamed);
    let fresh = open(other.path(), None);
    restore(&fresh, "a.gpg").unwrap();
    drop(fresh);
    assert_eq!(value(&open(other.path(), Some(OWNER))), "before");
}

#[test]
fn a_state_that_the_program_cannot_use_is_not_restored() {
    let dir = tempfile::tempdir().unwrap();
    let scene = open(dir.path(), Some(OWNER));
    let empty = scene.backups.create().unwrap().name;
    fill(dir.path(), &scene);
    assert!(matches!(restore(&scene, &empty), Err(BackupError::Unusable(reason)) if reason == "no k"));
    assert_eq!(value(&scene), "before");
    drop(scene);
    assert_eq!(value(&open(dir.path(), Some(OWNER))), "before");
}

#[test]
fn uploads_of_our_own_form_must_be_sound_and_names_plain() {
    let dir = tempfile::tempdir().unwrap();
    let scene = open(dir.path(), Some(OWNER));
    fill(dir.path(), &scene);
    let name = scene.backups.create().unwrap().name;
    let mut bytes = bytes_of(&scene, &name);
    let backups = &scene.backups;
    assert!(matches!(backups.upload(&name, &bytes, false), Err(BackupError::Exists(_))));
    backups.upload(&name, &bytes, true).unwrap();
    backups.upload("copy.gpg", &bytes, false).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    assert!(matches!(backups.upload("bad.gpg", &bytes, false), Err(BackupError::Archive(_))));
    assert!(!dir.path().join("backup/.unfinished").exists(), "what was refused takes no space");
    // What is not ours is kept for whoever can read it, and cannot be restored.
    backups.upload("theirs.gpg", b"garbage", false).unwrap();
    assert!(matches!(restore(&scene, "theirs.gpg"), Err(BackupError::Archive(ArchiveError::NotOurs))));
    for name in ["x.txt", ".x.gpg", "../x.gpg", "a/b.gpg", ".gpg", "", "ä.gpg", "x.gpg.", &"x".repeat(300)] {
        assert!(matches!(backups.upload(name, &bytes, true), Err(BackupError::Name(_))), "{name}");
        assert!(matches!(backups.open(name), Err(BackupError::Missing(_))), "{name}");
        assert!(matches!(backups.delete(name), Err(BackupError::Missing(_))), "{name}");
    }
    put(dir.path(), "backup/notes.txt", "x");
    let mut names: Vec<String> = backups.list().unwrap().into_iter().map(|kept| kept.name).collect();
    names.sort();
    assert_eq!(names, [name.as_str(), "copy.gpg", "theirs.gpg"]);
    backups.delete("copy.gpg").unwrap();
    assert!(matches!(backups.delete("copy.gpg"), Err(BackupError::Missing(_))));
}

#[test]
fn a_backup_holds_one_moment_while_the_server_changes() {
    let dir = tempfile::tempdir().unwrap();
    let scene = open(dir.path(), Some(OWNER));
    fill(dir.path(), &scene);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0_u32;
            while !done.load(Ordering::Relaxed) {
                n += 1;
                let number = n.to_string().into_bytes();
                let pair = [(b"k".to_vec(), Some(number.clone())), (b"twin".to_vec(), Some(number))];
                scene.state.commit("t", &pair).unwrap();
            }
        });
        for _ in 0..5 {
            let name = scene.backups.create().unwrap().name;
            let copy = tempfile::tempdir().unwrap();
            let (file, _) = scene.backups.open(&name).unwrap();
            Archive::open(file, LIMITS).unwrap().unpack(Some(copy.path())).unwrap();
            let store = Store::open(&copy.path().join(STATE)).unwrap();
            let twin = store.get("t", b"twin").unwrap();
            assert!(twin.is_none() || store.get("t", b"k").unwrap() == twin);
        }
        done.store(true, Ordering::Relaxed);
    });
}
