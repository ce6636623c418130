//! One signature for many messages: one line per signing certificate, one private-key operation under way in each [BATCH-TS].
//!
//! An idle line signs at once, alone; whatever arrives while a signature is being made forms the next hash tree. There is no timer:
//! load makes its own batches, and a batch with company lets whoever is ready to run go first ([`Company`]). A lone message of one part is referred
//! to directly; a lone message of several parts gets a chain of one step; several messages share a Merkle tree.
//!
//! A line ends with its identity: a new certificate or a new OCSP answer begins a new one. At most [`QUEUE`] messages wait in a line.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use host::clock::Clock;
use metrics::{Gauge, Histogram};
use pki::algorithm::EcdsaForm;
use pki::digest::DigestAlgorithm;
use pki::hash_chain::{MESSAGE_URI, Parts, SIGNATURE_CHAIN_URI, SIGNATURE_RESULT_URI, Tree};
use pki::xades::Template;
use proto::id::MemberId;
use proto::time::UnixTime;
use signer::{Purpose, Signer, SignerError, SigningIdentity};
use tokio::sync::oneshot;

use crate::company::Company;
use crate::exchange::{Evidence, Message, Proven, Whole};

/// Most messages that wait for one certificate.
pub const QUEUE: usize = 4096;
/// Longest time for one private-key operation; a token that hangs must not hold its line for ever.
const OPERATION: Duration = Duration::from_secs(30);

/// A message with our signature; [`Batcher::sign`] alone makes one.
#[derive(Debug)]
pub struct Signed<M> {
    whole: Whole<M>,
    evidence: Evidence,
    at: UnixTime,
    until: UnixTime,
}

impl<M: Message> Proven for Signed<M> {
    type Message = M;
    fn whole(&self) -> &Whole<M> {
        &self.whole
    }
    fn evidence(&self) -> &Evidence {
        &self.evidence
    }
    fn at(&self) -> UnixTime {
        self.at
    }
    fn until(&self) -> UnixTime {
        self.until
    }
}

/// Why no signature was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The key.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The key did not answer.
    #[error("the private-key operation took longer than {OPERATION:?}")]
    Timeout,
    /// Too many wait.
    #[error("{QUEUE} messages wait for a signature already")]
    QueueFull,
    /// The line ended; only when the process does.
    #[error("signing has ended")]
    Ended,
}

/// Signs messages. Cheap to clone.
#[derive(Clone)]
pub struct Batcher {
    signer: Arc<dyn Signer>,
    clock: Clock,
    lines: Arc<Mutex<HashMap<MemberId, Arc<Line>>>>,
    /// The last signature's millisecond, and how many were made in it.
    made: Arc<Mutex<(UnixTime, u32)>>,
    /// How many wait, and how many are signed together.
    waiting: Gauge,
    together: Histogram,
}

/// All that waits for one signing certificate with one set of OCSP answers.
struct Line {
    identity: Arc<SigningIdentity>,
    template: Template,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// A task works on this line.
    busy: bool,
}

struct Waiting {
    parts: Arc<Parts>,
    reply: oneshot::Sender<Result<(Evidence, UnixTime), SignError>>,
}

impl Batcher {
    /// Signs with the keys of `signer`.
    pub fn new(signer: Arc<dyn Signer>, clock: Clock) -> Self {
        Self {
            signer,
            clock,
            lines: Arc::default(),
            made: Arc::new(Mutex::new((UnixTime(i64::MIN), 0))),
            waiting: metrics::gauge!("causeway_signature_queue"),
            together: metrics::histogram!("causeway_signature_batch_records"),
        }
    }

    /// Signs one message, together with others when there are any.
    ///
    /// # Errors
    /// [`SignError`].
    pub async fn sign<M: Message>(
        &self,
        identity: &Arc<SigningIdentity>,
        whole: Whole<M>,
    ) -> Result<Signed<M>, SignError> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(self.line(identity), Waiting { parts: whole.parts.clone(), reply })?;
        let (evidence, at) = answer.await.map_err(|_| SignError::Ended)??;
        Ok(Signed { whole, evidence, at, until: identity.until })
    }

    /// The line of `identity`; a line of an older one is forgotten, whoever waits in it is still served.
    fn line(&self, identity: &Arc<SigningIdentity>) -> Arc<Line> {
        let mut lines = lock(&self.lines);
        match lines.get(&identity.member) {
            Some(line) if Arc::ptr_eq(&line.identity, identity) => line.clone(),
            _ => {
                let line = Arc::new(Line::new(identity.clone()));
                lines.insert(identity.member.clone(), line.clone());
                line
            }
        }
    }

    fn enqueue(&self, line: Arc<Line>, request: Waiting) -> Result<(), SignError> {
        let mut queue = lock(&line.queue);
        if queue.waiting.len() >= QUEUE {
            return Err(SignError::QueueFull);
        }
        queue.waiting.push(request);
        self.waiting.increment(1.0);
        if !std::mem::replace(&mut queue.busy, true) {
            drop(queue);
            // A task of its own: whoever began the batch may be cancelled, the others in it must not be.
            tokio::spawn(self.clone().work(line));
        }
        Ok(())
    }

    /// Signs batch after batch until nobody waits.
    async fn work(self, line: Arc<Line>) {
        let _release = ReleaseOnPanic(&line);
        let mut company = Company::default();
        loop {
            while company.may_bring_more(lock(&line.queue).waiting.len()) {
                tokio::task::yield_now().await;
            }
            let batch = {
                let mut queue = lock(&line.queue);
                if queue.waiting.is_empty() {
                    queue.busy = false;
                    return;
                }
                std::mem::take(&mut queue.waiting)
            };
            self.waiting.decrement(batch.len() as f64);
            company = company.after(batch.len());
            let batch: Vec<Waiting> = batch.into_iter().filter(|w| !w.reply.is_closed()).collect();
            if !batch.is_empty() {
                self.together.record(batch.len() as f64);
                self.sign_batch(&line, batch).await;
            }
        }
    }

    async fn sign_batch(&self, line: &Line, batch: Vec<Waiting>) {
        let (at, nth) = self.instant();
        let (parts, replies): (Vec<Arc<Parts>>, Vec<_>) =
            batch.into_iter().map(|w| (w.parts, w.reply)).unzip();
        let subject = Subject::of(parts);
        let (uri, digest) = subject.reference();
        let unsigned = line.template.prepare_nth(uri, &digest, at, nth);
        let value = self.operate(line, Bytes::copy_from_slice(unsigned.signed_info())).await;
        let document = value.map(|value| Bytes::from(unsigned.finish(&value)));
        for (index, reply) in replies.into_iter().enumerate() {
            let evidence = document
                .clone()
                .map(|document| (Evidence { document, hash_chain: subject.hash_chain(index) }, at));
            // Whoever is gone does not need it.
            let _ = reply.send(evidence);
        }
    }

    /// Now, and how many signatures were made in this millisecond before: together never the same twice.
    fn instant(&self) -> (UnixTime, u32) {
        let now = self.clock.now();
        let mut made = lock(&self.made);
        *made = if made.0 == now { (now, made.1 + 1) } else { (now, 0) };
        *made
    }

    async fn operate(&self, line: &Line, signed_info: Bytes) -> Result<Vec<u8>, SignError> {
        let identity = &line.identity;
        let operation = self.signer.sign(
            &identity.key,
            Purpose::Message,
            identity.algorithm,
            EcdsaForm::Raw,
            signed_info,
        );
        Ok(tokio::time::timeout(OPERATION, operation).await.map_err(|_| SignError::Timeout)??)
    }
}

/// A line whose work has panicked: whoever waits is told, and the next message finds the line idle instead of waiting for ever.
struct ReleaseOnPanic<'a>(&'a Line);

impl Drop for ReleaseOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = lock(&self.0.queue);
            queue.busy = false;
            metrics::gauge!("causeway_signature_queue").decrement(queue.waiting.len() as f64);
            queue.waiting.clear();
        }
    }
}

impl Line {
    fn new(identity: Arc<SigningIdentity>) -> Self {
        let ocsp: Vec<Vec<u8>> = identity.ocsp.iter().map(|der| der.to_vec()).collect();
        let template = Template::new(&identity.cert, &identity.intermediates, &ocsp, identity.algorithm);
        Self { identity, template, queue: Mutex::default() }
    }
}

/// What one signature is over.
enum Subject {
    /// A lone message of one part.
    Part(pki::digest::DigestValue),
    /// A tree, and its chain result document.
    Tree(Tree, Bytes),
}

impl Subject {
    fn of(messages: Vec<Arc<Parts>>) -> Self {
        if let [parts] = messages.as_slice()
            && let [(_, digest)] = parts.as_slice()
        {
            return Self::Part(digest.clone());
        }
        let tree = Tree::of_shared(DigestAlgorithm::Sha512, SIGNATURE_CHAIN_URI, messages);
        let result = Bytes::copy_from_slice(tree.result_xml());
        Self::Tree(tree, result)
    }
    fn reference(&self) -> (&'static str, pki::digest::DigestValue) {
        match self {
            Self::Part(digest) => (MESSAGE_URI, digest.clone()),
            Self::Tree(_, result) => (SIGNATURE_RESULT_URI, DigestAlgorithm::Sha512.digest(result)),
        }
    }
    fn hash_chain(&self, index: usize) -> Option<(Bytes, Bytes)> {
        match self {
            Self::Part(_) => None,
            Self::Tree(tree, result) => Some((result.clone(), Bytes::from(tree.chain_xml(index)))),
        }
    }
}

impl std::fmt::Debug for Batcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher").field("lines", &lock(&self.lines).len()).finish_non_exhaustive()
    }
}

/// Nothing panics while it holds one of these locks, and what they guard is whole after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
