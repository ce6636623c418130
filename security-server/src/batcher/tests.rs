//! One signature for many, whatever happens to the ones who wait: with a signer that counts.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::FutureExt;
use pki::algorithm::SignatureAlgorithm;
use pki::cert::Certificate;
use pki::issue::Role;
use pki::key::PrivateKey;
use pki::message_signature;
use pki::xades::Document;
use signer::{KeyId, OwnKeys, SoftwareSigner};
use tokio::sync::Semaphore;

use super::*;
use crate::testing::{NOW, ca};

/// Signs with a real key, one operation per permit of its gate, and counts them.
struct CountingSigner {
    key: PrivateKey,
    operations: AtomicUsize,
    gate: Semaphore,
    logged_out: Mutex<bool>,
    panics: AtomicBool,
    /// It begins an operation when its gate opens, not before.
    is_late: AtomicBool,
}

#[async_trait::async_trait]
impl Signer for CountingSigner {
    async fn sign_late(
        &self,
        _key: &KeyId,
        purpose: Purpose,
        algorithm: SignatureAlgorithm,
        form: EcdsaForm,
        message: signer::Message,
    ) -> Result<Vec<u8>, SignerError> {
        if self.is_late.load(Ordering::Relaxed) {
            self.gate.acquire().await.unwrap().forget();
            self.gate.add_permits(1);
        }
        let message = message();
        assert_eq!((purpose, form), (Purpose::Message, EcdsaForm::Raw));
        self.gate.acquire().await.unwrap().forget();
        self.operations.fetch_add(1, Ordering::Relaxed);
        assert!(!self.panics.swap(false, Ordering::Relaxed), "the signer panics once, as the test asks");
        if *self.logged_out.lock().unwrap() {
            return Err(SignerError::LoggedOut);
        }
        self.key.sign(algorithm, form, &message).map_err(|e| SignerError::Failed(e.to_string()))
    }
    fn own_keys(&self) -> Arc<OwnKeys> {
        Arc::default()
    }
}

/// A message of so many parts, told apart by its number.
struct Numbered(Bytes);

impl Message for Numbered {
    fn is_rest(&self) -> bool {
        true
    }
    fn raw(&self) -> &Bytes {
        &self.0
    }
}

fn message(number: usize, parts: usize) -> Whole<Numbered> {
    let raw = Bytes::from(format!("message {number}"));
    let digest = |text: String| DigestAlgorithm::Sha512.digest(text.as_bytes());
    let attachments = (1..parts).map(|n| (format!("/attachment{n}"), digest(format!("{number} {n}"))));
    let own = (MESSAGE_URI.to_owned(), DigestAlgorithm::Sha512.digest(&raw));
    Whole {
        message: Numbered(raw),
        attachments: Vec::new(),
        parts: std::iter::once(own).chain(attachments).collect::<Vec<_>>().into(),
    }
}

fn member() -> MemberId {
    MemberId { instance: "DEV".into(), class: "GOV".into(), code: "1".into() }
}

fn identity_of(key: KeyId, algorithm: SignatureAlgorithm, cert: Certificate) -> SigningIdentity {
    SigningIdentity {
        key,
        member: member(),
        ocsp: vec![Bytes::from_static(b"an answer")],
        intermediates: Vec::new(),
        algorithm,
        until: cert.not_after(),
        cert,
    }
}

/// A token of this process, with one key.
fn software(dir: &std::path::Path) -> (Arc<SoftwareSigner>, Arc<SigningIdentity>) {
    let (key, cert) = ca().issue("Signing", Role::Signing);
    let algorithm = key.default_algorithm();
    let signer = SoftwareSigner::create(dir, "token", "1234").unwrap();
    let id = signer.import_pair("sign", key, &cert, Some(member())).unwrap();
    (Arc::new(signer), Arc::new(identity_of(id, algorithm, cert)))
}

/// A batcher over a signer whose gate is shut.
fn setup() -> (Arc<CountingSigner>, Batcher, Arc<SigningIdentity>) {
    let (key, cert) = ca().issue("Signing", Role::Signing);
    let identity = identity_of("KEY".into(), key.default_algorithm(), cert);
    let signer = Arc::new(CountingSigner {
        key,
        operations: AtomicUsize::new(0),
        gate: Semaphore::new(0),
        logged_out: Mutex::new(false),
        panics: AtomicBool::new(false),
        is_late: AtomicBool::new(false),
    });
    (signer.clone(), Batcher::new(signer, Clock::fixed(NOW), []), Arc::new(identity))
}

/// The signature holds and covers exactly the message.
fn check(signed: &Signed<Numbered>) {
    let document = Document::parse(&signed.evidence.document).expect("a document");
    document.verify().expect("a signature that holds");
    let covered =
        message_signature::check_coverage(&document, signed.evidence.borrowed(), &signed.whole.parts, false);
    covered.expect("the whole message, and nothing else");
}

async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never happened");
}

fn waiting(batcher: &Batcher, identity: &Arc<SigningIdentity>) -> usize {
    lock(&batcher.line(identity).queue).waiting.len()
}

#[tokio::test]
async fn a_panic_ends_those_who_wait_and_no_others() {
    let (signer, batcher, identity) = setup();
    signer.panics.store(true, Ordering::Relaxed);
    let (first, second) = (batcher.clone(), batcher.clone());
    let (one, other) = (identity.clone(), identity.clone());
    let first = tokio::spawn(async move { first.sign(&one, message(1, 1)).await.map(drop) });
    until(|| signer.gate.available_permits() == 0 && lock(&batcher.line(&identity).queue).busy).await;
    let second = tokio::spawn(async move { second.sign(&other, message(2, 1)).await.map(drop) });
    signer.gate.add_permits(3);
    assert_eq!(first.await.expect("the caller does not panic"), Err(SignError::Ended));
    // It was in the line when the panic came, or came after it.
    assert!(matches!(second.await.expect("the caller does not panic"), Ok(()) | Err(SignError::Ended)));
    check(&batcher.sign(&identity, message(3, 1)).await.expect("the line goes on"));
}

#[tokio::test]
async fn an_idle_line_signs_at_once_and_alone() {
    let (signer, batcher, identity) = setup();
    signer.gate.add_permits(2);
    let plain = batcher.sign(&identity, message(1, 1)).await.expect("signed");
    assert!(plain.evidence.hash_chain.is_none(), "one part needs no chain");
    check(&plain);
    let parts = batcher.sign(&identity, message(2, 3)).await.expect("signed");
    assert!(parts.evidence.hash_chain.is_some(), "three parts need one step");
    check(&parts);
    assert_eq!(signer.operations.load(Ordering::Relaxed), 2);
    assert_eq!(plain.at(), NOW);
}

#[tokio::test]
async fn whatever_arrives_during_a_signature_shares_the_next() {
    let (signer, batcher, identity) = setup();
    let sign = |number: usize| {
        let (batcher, identity) = (batcher.clone(), identity.clone());
        // Messages of one and of two parts together.
        tokio::spawn(async move {
            batcher.sign(&identity, message(number, 1 + number % 2)).await.expect("signed")
        })
    };
    let first = sign(0);
    until(|| lock(&batcher.line(&identity).queue).busy && waiting(&batcher, &identity) == 0).await;
    let others: Vec<_> = (1..=10).map(sign).collect();
    until(|| waiting(&batcher, &identity) == 10).await;
    signer.gate.add_permits(2);
    check(&first.await.expect("done"));
    let mut documents = Vec::new();
    for other in others {
        let signed = other.await.expect("done");
        check(&signed);
        documents.push(signed.evidence.document.clone());
    }
    documents.dedup();
    assert_eq!(documents.len(), 1, "one document for all of them");
    assert_eq!(signer.operations.load(Ordering::Relaxed), 2, "eleven messages");
}

#[tokio::test]
async fn a_batch_is_closed_when_the_key_has_its_turn() {
    let (signer, batcher, identity) = setup();
    signer.is_late.store(true, Ordering::Relaxed);
    let sign = |number: usize| {
        let (batcher, identity) = (batcher.clone(), identity.clone());
        tokio::spawn(async move { batcher.sign(&identity, message(number, 1)).await.expect("signed") })
    };
    let first = sign(0);
    until(|| lock(&batcher.line(&identity).queue).busy).await;
    // The key is asked for, and busy elsewhere.
    tokio::task::yield_now().await;
    let others: Vec<_> = (1..=10).map(sign).collect();
    until(|| waiting(&batcher, &identity) == 11).await;
    signer.gate.add_permits(1);
    check(&first.await.expect("done"));
    for other in others {
        check(&other.await.expect("done"));
    }
    assert_eq!(signer.operations.load(Ordering::Relaxed), 1, "one signature for all eleven");
}

#[tokio::test]
async fn who_waits_for_a_key_that_refuses_before_it_begins_is_told() {
    let (_, _, identity) = setup();
    let refusing = Arc::new(crate::testing::StillSigner::default());
    let batcher = Batcher::new(refusing, Clock::fixed(NOW), []);
    for number in 0..2 {
        let found = batcher.sign(&identity, message(number, 1)).await.map(drop);
        assert_eq!(found, Err(SignError::Signer(SignerError::NoKey("KEY".into()))));
    }
    assert!(!lock(&batcher.line(&identity).queue).busy);
}

#[tokio::test]
async fn a_message_alone_in_the_server_is_signed_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (signer, identity) = software(dir.path());
    let slots = Admission::new(2, 2);
    let batcher = Batcher::new(signer, Clock::fixed(NOW), [slots.clone()]);
    let alone = slots.enter("one").unwrap();
    let signed = batcher.sign(&identity, message(1, 2)).now_or_never().expect("at once");
    check(&signed.expect("signed"));
    let other = slots.enter("other").unwrap();
    let gone = batcher.sign(&identity, message(2, 1)).now_or_never();
    assert!(gone.is_none(), "others may come while it is signed");
    check(&batcher.sign(&identity, message(3, 1)).await.expect("signed"));
    drop((alone, other));
}

#[tokio::test]
async fn who_gives_up_is_left_out_and_takes_nobody_along() {
    let (signer, batcher, identity) = setup();
    let sign = |number: usize| {
        let (batcher, identity) = (batcher.clone(), identity.clone());
        tokio::spawn(async move { batcher.sign(&identity, message(number, 1)).await })
    };
    let leader = sign(0);
    until(|| lock(&batcher.line(&identity).queue).busy && waiting(&batcher, &identity) == 0).await;
    let (quitter, stayer) = (sign(1), sign(2));
    until(|| waiting(&batcher, &identity) == 2).await;
    leader.abort();
    quitter.abort();
    let _ = (leader.await, quitter.await);
    signer.gate.add_permits(2);
    let signed = stayer.await.expect("done").expect("signed");
    check(&signed);
    assert!(signed.evidence.hash_chain.is_none(), "it was alone in its batch");
}

#[tokio::test]
async fn a_failed_operation_reaches_all_and_the_line_goes_on() {
    let (signer, batcher, identity) = setup();
    *signer.logged_out.lock().unwrap() = true;
    signer.gate.add_permits(2);
    let found = batcher.sign(&identity, message(1, 1)).await.map(|_| ());
    assert_eq!(found, Err(SignError::Signer(SignerError::LoggedOut)));
    *signer.logged_out.lock().unwrap() = false;
    check(&batcher.sign(&identity, message(2, 1)).await.expect("signed"));
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let (signer, batcher, identity) = setup();
    let line = batcher.line(&identity);
    lock(&line.queue).busy = true;
    let mut answers = Vec::new();
    for number in 0..QUEUE {
        let (reply, answer) = oneshot::channel();
        batcher.enqueue(line.clone(), Waiting { parts: message(number, 1).parts, reply }).expect("room");
        answers.push(answer);
    }
    let found = batcher.sign(&identity, message(0, 1)).await.map(|_| ());
    assert_eq!(found, Err(SignError::QueueFull));
    assert_eq!(signer.operations.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_new_identity_begins_a_new_line() {
    let (signer, batcher, identity) = setup();
    signer.gate.add_permits(2);
    let old = batcher.line(&identity);
    let renewed = Arc::new(SigningIdentity {
        key: identity.key.clone(),
        member: identity.member.clone(),
        cert: identity.cert.clone(),
        intermediates: Vec::new(),
        ocsp: vec![Bytes::from_static(b"a newer answer")],
        algorithm: identity.algorithm,
        until: identity.until,
    });
    let signed = batcher.sign(&renewed, message(1, 1)).await.expect("signed");
    let document = Document::parse(&signed.evidence.document).expect("a document");
    assert_eq!(document.ocsp, [b"a newer answer".to_vec()]);
    assert!(!Arc::ptr_eq(&old, &batcher.line(&renewed)));
}

/// RSA PKCS#1 is deterministic: without a difference in the document a receiver would take the second for a repetition.
#[tokio::test]
async fn the_same_message_twice_in_one_millisecond_gets_two_signatures() {
    let (signer, batcher, identity) = setup();
    signer.gate.add_permits(3);
    let mut signed_infos = std::collections::HashSet::new();
    for _ in 0..3 {
        let signed = batcher.sign(&identity, message(1, 1)).await.unwrap();
        let document = Document::parse(&signed.evidence.document).unwrap();
        document.verify().unwrap();
        assert_eq!(
            document.signing_time,
            Some(NOW),
            "further digits of the fraction change nothing for readers"
        );
        signed_infos.insert(document.signed_info);
    }
    assert_eq!(signed_infos.len(), 3);
}
