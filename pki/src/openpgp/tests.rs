//! Against itself and against `gpg`, where that is on the machine.
use std::io::BufReader;
use std::path::Path;
use std::process::Command;

use pgp::composed::SignedPublicSubKey;
use pgp::packet::{KeyFlags, PubKeyInner, PublicSubkey};
use pgp::types::KeyDetails as _;

use super::*;

const NOW: UnixTime = UnixTime(1_795_000_000_000);
const MAX: u64 = 1 << 30;

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn sealed(data: &[u8], to: &[&PublicKey], by: &SecretKey) -> Vec<u8> {
    let mut out = Vec::new();
    seal(data, &mut out, to, by, NOW).unwrap();
    out
}

fn opened(sealed: &[u8], key: &SecretKey, signers: &[PublicKey]) -> Result<Vec<u8>, MessageError> {
    let mut out = Vec::new();
    open(BufReader::new(sealed), &mut out, key, signers, MAX).map(|_| out)
}

#[test]
fn everybody_it_was_made_for_reads_it_and_sees_who_signed() {
    let (server, member, other) = (
        SecretKey::generate("server", NOW).unwrap(),
        SecretKey::generate("member", NOW).unwrap(),
        SecretKey::generate("other", NOW).unwrap(),
    );
    for length in [0, 1, 65_535, 65_536, 1_000_000] {
        let data = text(length);
        let message = sealed(&data, &[member.public(), server.public()], &server);
        for key in [&member, &server] {
            assert_eq!(opened(&message, key, &[server.public().clone()]).unwrap(), data, "{length}");
        }
        assert!(matches!(opened(&message, &other, &[]), Err(MessageError::OtherKey)));
        let wrong = opened(&message, &member, &[other.public().clone()]);
        assert!(matches!(wrong, Err(MessageError::Signature)), "{wrong:?}");
    }
    let mut out = Vec::new();
    let message = sealed(b"twelve bytes", &[member.public()], &server);
    let short = open(&message[..], &mut out, &member, &[], 11);
    assert!(matches!(short, Err(MessageError::TooLarge(11))), "{short:?}");
    assert!(matches!(seal(&b"x"[..], Vec::new(), &[], &server, NOW), Err(MessageError::NoRecipient)));
}

#[test]
fn a_changed_or_shortened_message_is_refused() {
    let key = SecretKey::generate("server", NOW).unwrap();
    let message = sealed(&text(300), &[key.public()], &key);
    let signer = [key.public().clone()];
    for at in (0..message.len()).step_by(3) {
        let mut changed = message.clone();
        changed[at] ^= 0x10;
        assert!(opened(&changed, &key, &signer).map_or(true, |data| data == text(300)), "{at}");
    }
    let ends_early =
        (1..message.len()).step_by(7).filter(|end| opened(&message[..*end], &key, &signer).is_ok());
    assert_eq!(ends_early.count(), 0);
    // Its own integrity protects it without a signer's key: every byte of what is encrypted, the check itself among them.
    for back in 1..=300 {
        let mut changed = message.clone();
        let at = changed.len() - back;
        changed[at] ^= 1;
        assert!(opened(&changed, &key, &[]).is_err(), "{back} from the end");
    }
}

#[test]
fn keys_come_back_from_text_and_answer_to_their_names() {
    let key = SecretKey::generate("DEV/GOV/1/ss1", NOW).unwrap();
    let again = SecretKey::read(key.armored().unwrap().as_bytes(), None).unwrap();
    let public = again.public();
    assert_eq!(public.fingerprint(), key.public().fingerprint());
    assert_eq!(public.names(), ["DEV/GOV/1/ss1"]);
    let id = public.fingerprint();
    let spaced = format!("{} {}", &id[..20], &id[20..]);
    for name in [id.as_str(), &id.to_lowercase(), &id[24..], &format!("0x{}", &id[24..]), &spaced] {
        assert!(public.is_called(name), "{name}");
    }
    for name in ["", &id[32..], &id[..16], "DEV/GOV/1/ss1"] {
        assert!(!public.is_called(name), "{name}");
    }
    let armored = public.armored().unwrap();
    let read = PublicKey::read_all(format!("{armored}{armored}").as_bytes());
    assert!(read.is_ok());
    assert!(matches!(SecretKey::read(armored.as_bytes(), None), Err(KeyError::NoSecret)));
    assert!(matches!(PublicKey::read_all(b"nothing"), Err(KeyError::Unreadable(_))));
    assert!(matches!(PublicKey::read_all(&vec![0; MAX_KEY_BYTES + 1]), Err(KeyError::TooLarge)));
}

/// A key of `mallory` with the parts of `victim` for its own, which nobody needs the victim for.
fn adopting(mallory: &SecretKey, victim: &PublicKey) -> PublicKey {
    let (own, public) = (&mallory.key.primary_key, &mallory.public().0.primary_key);
    let mut flags = KeyFlags::default();
    flags.set_encrypt_comms(true);
    let parts = victim.0.public_subkeys.iter().map(|part| part.key.clone());
    let primary = &victim.0.primary_key;
    let (version, algorithm, at) = (primary.version(), primary.algorithm(), primary.created_at());
    let inner = PubKeyInner::new(version, algorithm, at, None, primary.public_params().clone()).unwrap();
    let mut adopted = mallory.public().0.clone();
    for part in parts.chain([PublicSubkey::from_inner(inner).unwrap()]) {
        let binding = part.sign(OsRng, own, public, &Password::empty(), flags.clone(), None).unwrap();
        adopted.public_subkeys.push(SignedPublicSubKey::new(part, vec![binding]));
    }
    PublicKey::read_all(PublicKey(adopted).armored().unwrap().as_bytes()).unwrap().remove(0)
}

#[test]
fn a_key_that_adopts_the_parts_of_another_does_not_take_its_name() {
    let (victim, mallory) =
        (SecretKey::generate("victim", NOW).unwrap(), SecretKey::generate("mallory", NOW).unwrap());
    let adopted = adopting(&mallory, victim.public());
    let part = hex::encode(victim.public().0.public_subkeys[0].key.fingerprint().as_bytes());
    let whole = victim.public().fingerprint();
    for keys in [[&adopted, victim.public()], [victim.public(), &adopted]] {
        for id in [&whole[..], &whole[24..]] {
            let found = called(keys, id).unwrap().unwrap();
            assert_eq!(found.fingerprint(), whole, "{id}");
        }
        let found = called(keys, &part);
        assert_eq!(found.err(), Some(KeyError::Ambiguous(part.clone())));
    }
    assert_eq!(called([victim.public()], &part).unwrap().unwrap().fingerprint(), whole);
    // A binding that the key did not make binds nothing.
    let mut stray = mallory.public().0.clone();
    stray.public_subkeys.extend(victim.public().0.public_subkeys.clone());
    assert!(called([&PublicKey(stray)], &part).unwrap().is_none());
    assert!(called([&adopted], "0123456789ABCDEF").unwrap().is_none());
}

/// `gpg` with a home of its own.
fn gpg(home: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut gpg = Command::new("gpg");
    gpg.args(["--batch", "--no-tty", "--yes", "--trust-model", "always", "--pinentry-mode", "loopback"]);
    let done = gpg.arg("--homedir").arg(home).args(["--passphrase", ""]).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "gpg {arguments:?}: {said}");
    done.stdout
}

/// A home for `gpg`, short enough for its sockets; `None` without `gpg`.
fn gpg_home(test: &str) -> Option<tempfile::TempDir> {
    testkit::tools::tool("gpg", test)?;
    let home = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    Some(home)
}

/// Ends the agent that `gpg` started in this home.
struct Agent<'a>(&'a Path);
impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.0).args(["--kill", "all"]).status();
    }
}

#[test]
fn gpg_reads_ours_and_we_read_its() {
    let Some(home) = gpg_home("OpenPGP messages with gpg") else { return };
    let (home, _agent) = (home.path(), Agent(home.path()));
    let ours = SecretKey::generate("server", NOW_REAL).unwrap();
    std::fs::write(home.join("ours.asc"), ours.public().armored().unwrap()).unwrap();
    gpg(home, &["--import", home.join("ours.asc").to_str().unwrap()]);
    // As the reference's script makes a server's key, as members are told to make theirs, and of elliptic curves.
    for (name, algorithm, usage) in [
        ("plain", "rsa2048", "cert,sign,encrypt"),
        ("usual", "rsa2048", "default"),
        ("curve", "future-default", "default"),
    ] {
        gpg(home, &["--quick-generate-key", name, algorithm, usage, "never"]);
        let exported = gpg(home, &["--armor", "--export", &format!("={name}")]);
        let theirs = PublicKey::read_all(&exported).unwrap();
        let secret = gpg(home, &["--export-secret-keys", &format!("={name}")]);
        let secret = SecretKey::read(&secret, None).unwrap();
        let has_subkey = name != "usual";
        let data = text(200_000);
        let (plain, cipher) = (home.join("plain"), home.join("cipher"));
        if has_subkey {
            assert_eq!(theirs[0].check_encrypts(NOW_REAL), Ok(()), "{name}");
            let mut out = Vec::new();
            seal(&data[..], &mut out, &[&theirs[0]], &ours, NOW_REAL).unwrap();
            std::fs::write(&cipher, out).unwrap();
            let status = gpg(
                home,
                &[
                    "--status-fd",
                    "1",
                    "--output",
                    plain.to_str().unwrap(),
                    "--decrypt",
                    cipher.to_str().unwrap(),
                ],
            );
            let status = String::from_utf8_lossy(&status).into_owned();
            assert!(status.contains("GOODSIG") && status.contains(&ours.public().fingerprint()), "{status}");
            assert_eq!(std::fs::read(&plain).unwrap(), data, "{name}");
        } else {
            assert_eq!(
                theirs[0].check_encrypts(NOW_REAL),
                Err(KeyError::CannotEncrypt(theirs[0].fingerprint()))
            );
        }
        std::fs::write(&plain, &data).unwrap();
        let recipient = if has_subkey { name } else { "plain" };
        let user = format!("={name}");
        gpg(
            home,
            &[
                "--local-user",
                &user,
                "--recipient",
                &format!("={recipient}"),
                "--recipient",
                "=server",
                "--output",
                cipher.to_str().unwrap(),
                "--sign",
                "--encrypt",
                plain.to_str().unwrap(),
            ],
        );
        let message = std::fs::read(&cipher).unwrap();
        assert_eq!(opened(&message, &ours, &theirs).unwrap(), data, "signed by {name}, to ours");
        if has_subkey {
            assert_eq!(opened(&message, &secret, &theirs).unwrap(), data, "to {name}");
        }
        let mut out = Vec::new();
        seal(&data[..], &mut out, &[ours.public()], &secret, NOW_REAL).unwrap();
        assert_eq!(opened(&out, &ours, &theirs).unwrap(), data, "{name} signs here");
    }
    let message = gpg(home, &["--store", "--output", "-", home.join("plain").to_str().unwrap()]);
    assert!(matches!(opened(&message, &ours, &[]), Err(MessageError::NotEncrypted)));
}

/// RSA signs any digest, with which the libraries of other algorithms refuse to sign.
#[test]
fn only_digests_that_nobody_can_make_collide_count() {
    let Some(home) = gpg_home("weak OpenPGP signatures") else { return };
    let (home, _agent) = (home.path(), Agent(home.path()));
    gpg(home, &["--quick-generate-key", "server", "rsa2048", "cert,sign,encrypt", "never"]);
    let key = SecretKey::read(&gpg(home, &["--export-secret-keys", "=server"]), None).unwrap();
    let strong = [HashAlgorithm::Sha512, HashAlgorithm::Sha256];
    for hash in strong.into_iter().chain([HashAlgorithm::Sha1, HashAlgorithm::Sha224]) {
        let mut out = Vec::new();
        let mut message =
            MessageBuilder::from_reader("", &b"data"[..]).seipd_v1(OsRng, SymmetricKeyAlgorithm::AES256);
        message.encrypt_to_key(OsRng, &key.public().encrypting(NOW_REAL).unwrap()).unwrap();
        message.sign(&key.key.primary_key, Password::empty(), hash);
        message.to_writer(OsRng, &mut out).unwrap();
        assert_eq!(opened(&out, &key, &[]).unwrap(), b"data");
        let found = opened(&out, &key, &[key.public().clone()]);
        assert_eq!(found.is_ok(), strong.contains(&hash), "{hash:?}: {found:?}");
    }
}

/// `gpg` takes its own clock: later than any key it makes.
const NOW_REAL: UnixTime = UnixTime(1_767_225_600_000);

#[test]
fn a_key_that_is_over_revoked_or_protected_is_refused_in_words() {
    let Some(home) = gpg_home("OpenPGP keys of gpg") else { return };
    let (home, _agent) = (home.path(), Agent(home.path()));
    gpg(home, &["--quick-generate-key", "short", "rsa2048", "cert,sign,encrypt", "1d"]);
    let short = PublicKey::read_all(&gpg(home, &["--export", "=short"])).unwrap().remove(0);
    let end = short.expires().unwrap();
    assert_eq!(short.check_encrypts(UnixTime(end.0 - 1)), Ok(()));
    let expected = KeyError::Expired { key: short.fingerprint(), at: end.to_iso8601() };
    assert_eq!(short.check_encrypts(end), Err(expected));

    let ours = SecretKey::generate("ours", NOW_REAL).unwrap();
    let secret = SecretKey::read(&gpg(home, &["--export-secret-keys", "=short"]), None).unwrap();
    let mut message = Vec::new();
    seal(&b"data"[..], &mut message, &[ours.public()], &secret, UnixTime(end.0 - 1)).unwrap();
    let revocation = home.join("openpgp-revocs.d").join(format!("{}.rev", short.fingerprint()));
    let revocation = std::fs::read_to_string(revocation).unwrap().replace(":-----BEGIN", "-----BEGIN");
    std::fs::write(home.join("revoke"), revocation).unwrap();
    gpg(home, &["--import", home.join("revoke").to_str().unwrap()]);
    let revoked = PublicKey::read_all(&gpg(home, &["--export", "=short"])).unwrap().remove(0);
    assert_eq!(revoked.check_encrypts(UnixTime(end.0 - 1)), Err(KeyError::Revoked(short.fingerprint())));
    // An older copy beside it does not bring it back.
    for copies in [[&short, &revoked], [&revoked, &short]] {
        assert!(called(copies, &short.fingerprint()).unwrap().unwrap().is_revoked());
    }
    // Nor does what it signed count any more: whoever has it now can write any time into a signature.
    assert!(opened(&message, &ours, std::slice::from_ref(&short)).is_ok());
    let found = opened(&message, &ours, std::slice::from_ref(&revoked));
    assert!(matches!(found, Err(MessageError::Key(KeyError::Revoked(_)))), "{found:?}");

    gpg(
        home,
        &[
            "--passphrase",
            "secret words",
            "--quick-generate-key",
            "locked",
            "future-default",
            "default",
            "never",
        ],
    );
    let locked = gpg(home, &["--passphrase", "secret words", "--export-secret-keys", "=locked"]);
    assert!(matches!(SecretKey::read(&locked, None), Err(KeyError::Protected(_))));
    assert!(matches!(SecretKey::read(&locked, Some("other words")), Err(KeyError::Protected(_))));
    assert!(SecretKey::read(&locked, Some("secret words")).unwrap().check_signs(end).is_ok());
}
