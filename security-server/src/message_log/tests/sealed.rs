//! Encrypted archives: who reads them, that nothing is left in clear, and what a bad key does.
use std::fs::File;
use std::io::BufReader;

use pki::openpgp::{self, PublicKey, SecretKey};

use super::archive::{Setup, archiving, check_chains};
use super::policy::is_in_files;
use super::stamps::{NOW, log_signed, signed, stop};
use super::*;
use crate::message_log::archive::Grouping;
use crate::message_log::archive::keys::{self, EncryptionSettings};

struct Sealed {
    setup: Setup,
    keys: PathBuf,
    map: PathBuf,
    member: SecretKey,
}

impl Sealed {
    async fn new() -> Self {
        let setup = Setup::new().await;
        let (keys, map) = (setup.dir.path().join("keys"), setup.dir.path().join("map"));
        let member = SecretKey::generate("DEV/GOV/one", NOW).unwrap();
        keys::create(&keys, "DEV/GOV/one/ss", NOW).unwrap();
        let export = setup.dir.path().join("export");
        std::fs::write(&export, member.public().armored().unwrap()).unwrap();
        keys::import(&keys, &export, None).unwrap();
        std::fs::write(&map, format!("DEV/GOV/one = {}\n", member.public().fingerprint())).unwrap();
        Self { setup, keys, map, member }
    }

    fn settings(&self, grouping: Grouping) -> LogSettings {
        let mut settings = archiving(self.setup.dir.path());
        settings.archive.grouping = grouping;
        settings.archive.encryption = Some(EncryptionSettings {
            dir: self.keys.clone(),
            members: Some(self.map.clone()),
            default_key: None,
            warning: Duration::from_secs(30 * 86_400),
        });
        settings
    }

    fn server(&self) -> SecretKey {
        SecretKey::read(&std::fs::read(self.keys.join(keys::SERVER_KEY)).unwrap(), None).unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.setup.dir.path().join("archive")
    }

    /// All files of the archive's folder, hidden ones too.
    fn files(&self) -> Vec<PathBuf> {
        let mut found: Vec<_> =
            std::fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.sort();
        found
    }

    /// Opens archives into ZIP files beside them.
    fn opened(&self, files: &[PathBuf], key: &SecretKey, signer: &PublicKey) -> Vec<PathBuf> {
        let open = |path: &PathBuf| {
            let zip = self.setup.dir.path().join(path.file_stem().unwrap());
            let input = BufReader::new(File::open(path).unwrap());
            let signers = std::slice::from_ref(signer);
            let by = openpgp::open(input, File::create(&zip).unwrap(), key, signers, 1 << 30).unwrap();
            assert_eq!(by, Some(signer.fingerprint()));
            zip
        };
        files.iter().map(open).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_are_signed_by_the_server_and_read_by_their_member_alone() {
    let sealed = Sealed::new().await;
    let mut settings = sealed.settings(Grouping::Member);
    settings.archive.max_file_bytes = 20_000;
    let (log, mut keeper, _shutdown) = sealed.setup.open(settings);
    for number in 1..=30 {
        let client = member(["one", "two"][(number % 2) as usize]).into();
        let body = spooled(&log, &noise(3000, number), 9_999).await;
        log.append(Entry { client, ..entry(number, &signed(number), vec![body]) }).await.unwrap();
    }
    // One that is too large to be put together in memory.
    let body = spooled(&log, &noise(9 << 20, 31), 10 << 20).await;
    log.append(Entry { client: member("one").into(), ..entry(31, &signed(31), vec![body]) }).await.unwrap();
    log.stamp_now(None).await.unwrap();
    assert_eq!(keeper.archive(NOW, None).await.unwrap(), 31);

    let files = sealed.files();
    assert!(
        files.len() > 4 && files.iter().all(|path| path.to_string_lossy().ends_with(".zip.gpg")),
        "{files:?}"
    );
    for number in 1..=30 {
        assert!(
            !is_in_files(&sealed.folder(), format!("id-{number}-re").as_bytes()),
            "names are not in clear"
        );
    }
    let (one, two): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|path| path.to_string_lossy().contains("mlog-DEV_GOV_one-"));
    let server = sealed.server();
    assert_eq!(check_chains(&sealed.opened(&one, &sealed.member, server.public())).len(), 16);
    assert_eq!(check_chains(&sealed.opened(&two, &server, server.public())).len(), 15);
    for (path, other) in [(&one[0], &server), (&two[0], &sealed.member)] {
        let input = BufReader::new(File::open(path).unwrap());
        let error = openpgp::open(input, std::io::sink(), other, &[], 1 << 30).unwrap_err();
        assert!(matches!(error, openpgp::MessageError::OtherKey), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_gone_stops_archiving_and_nothing_is_written_in_clear() {
    let sealed = Sealed::new().await;
    let (log, mut keeper, _shutdown) = sealed.setup.open(sealed.settings(Grouping::Member));
    log_signed(&log, 1..=5).await;
    log.stamp_now(None).await.unwrap();
    let key = sealed.keys.join(format!("{}.asc", sealed.member.public().fingerprint()));
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let error = keeper.archive(NOW, None).await.unwrap_err().to_string();
    assert!(
        error.contains("nothing is archived in clear") && error.contains("DEV/GOV/one: there is no key"),
        "{error}"
    );
    assert_eq!(sealed.files(), [] as [PathBuf; 0]);
    // The key is back, and so is archiving, without a restart.
    std::fs::write(&key, kept).unwrap();
    assert_eq!(keeper.archive(NOW, None).await.unwrap(), 5);
    assert_eq!(sealed.files().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_at_rest_stops_archiving_and_removing_until_it_is_back() {
    let setup = Setup::new().await;
    let with = |keys| LogSettings { keys: Arc::new(keys), ..archiving(setup.dir.path()) };
    let file = setup.dir.path().join("rest.keys");
    let keys = |id: &str| {
        let text = format!("key {id} {}\nuse * {id}\n", "7".repeat(64));
        std::fs::write(&file, text).unwrap();
        crate::message_log::crypt::Keys::read(&file).unwrap()
    };
    let (log, keeper, shutdown) = setup.open(with(keys("old")));
    log_signed(&log, 1..=60).await;
    log.stamp_now(None).await.unwrap();
    stop(&shutdown).await;
    log.close().await;
    drop((log, keeper));
    let later = NOW.plus(Duration::from_secs(30 * 86_400));
    let (log, mut keeper, shutdown) = setup.open(with(keys("new")));
    let error = keeper.archive(NOW, None).await.unwrap_err().to_string();
    assert!(
        error.contains("record 1 is encrypted with key old") && error.contains("put the key back"),
        "{error}"
    );
    assert_eq!(keeper.clean(later).await.unwrap(), 0, "nothing goes");
    stop(&shutdown).await;
    log.close().await;
    drop((log, keeper));
    let (log, mut keeper, _shutdown) = setup.open(with(keys("old")));
    assert_eq!(keeper.archive(NOW, None).await.unwrap(), 60);
    assert!(keeper.clean(later).await.unwrap() > 0);
    log.close().await;
}

/// Runs `gpg` in a home of its own.
fn gpg(home: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = std::process::Command::new("gpg");
    command.arg("--homedir").arg(home).args([
        "--batch",
        "--quiet",
        "--passphrase",
        "",
        "--pinentry-mode",
        "loopback",
    ]);
    let done = command.args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_ends_is_told_of_before_archiving_stops() {
    use std::os::unix::fs::PermissionsExt;
    if testkit::tools::tool("gpg", "keys that end").is_none() {
        return;
    }
    let home = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    gpg(home.path(), &["--quick-generate-key", "short", "rsa2048", "cert,sign,encrypt", "100d"]);
    let export = gpg(home.path(), &["--armor", "--export", "=short"]);
    let _ = std::process::Command::new("gpgconf")
        .arg("--homedir")
        .arg(home.path())
        .args(["--kill", "all"])
        .status();
    let short = PublicKey::read_all(&export).unwrap().remove(0);
    let sealed = Sealed::new().await;
    std::fs::write(sealed.keys.join("short.asc"), export).unwrap();
    let (one, other) = (sealed.member.public().fingerprint(), short.fingerprint());
    std::fs::write(&sealed.map, format!("DEV/GOV/one = {one}\nDEV/GOV/one = {other}\n")).unwrap();
    let (log, mut keeper, shutdown) = sealed.setup.open(sealed.settings(Grouping::Member));
    let (end, day) = (short.expires().unwrap(), Duration::from_secs(86_400));
    for (before, told) in
        [(40, None), (31, None), (30, Some(Some(end))), (1, Some(Some(end))), (0, Some(None))]
    {
        keeper.look_at_keys(end.minus(before * day)).await.unwrap();
        let ending = log.ending_archive_keys();
        let times: Vec<_> = ending.iter().map(|ending| ending.at).collect();
        assert_eq!(times, told.into_iter().collect::<Vec<_>>(), "{before} days before: {ending:?}");
        assert!(
            ending.iter().all(|ending| ending.whose == "DEV/GOV/one" && ending.key == other),
            "{ending:?}"
        );
    }
    std::fs::remove_file(sealed.keys.join("short.asc")).unwrap();
    keeper.look_at_keys(NOW).await.unwrap();
    let [missing] = &log.ending_archive_keys()[..] else { panic!("one is missing") };
    assert!(missing.at.is_none() && missing.reason.contains(&other), "{missing:?}");
    stop(&shutdown).await;
    log.close().await;
}
