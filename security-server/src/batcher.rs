//! One signature for many messages: one line per signing certificate, one private-key operation under way in each [BATCH-TS].
//!
//! An idle line signs at once, alone; whatever arrives while a signature is being made forms the next hash tree. There is no timer:
//! load makes its own batches. A batch with company lets whoever is ready to run go first ([`Company`]), and it is closed when the
//! private key has its turn, not when it is asked for one: what comes while others have the cores is in it. A message that is alone in
//! the whole server is signed where it is, without a word to another thread. A lone message of one part is referred
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
use pki::xades::{Template, Unsigned};
use proto::id::MemberId;
use proto::time::UnixTime;
use signer::{Purpose, Signer, SignerError, SigningIdentity};
use tokio::sync::oneshot;

use crate::admission::Admission;
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
    /// What is under way in this server.
    slots: Arc<[Admission]>,
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

/// Where somebody waits for a signature.
type Reply = oneshot::Sender<Result<(Evidence, UnixTime), SignError>>;

struct Waiting {
    parts: Arc<Parts>,
    reply: Reply,
}

/// A batch that is closed, but for its signature.
struct Prepared {
    subject: Subject,
    unsigned: Unsigned,
    at: UnixTime,
}

impl Batcher {
    /// Signs with the keys of `signer` for the exchanges that hold `slots`; who holds none is never taken to be alone.
    pub fn new(signer: Arc<dyn Signer>, clock: Clock, slots: impl Into<Arc<[Admission]>>) -> Self {
        Self {
            signer,
            clock,
            slots: slots.into(),
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
        let line = self.line(identity);
        let (evidence, at) = match self.sign_here(&line, &whole.parts) {
            Some(signed) => signed?,
            None => {
                let (reply, answer) = oneshot::channel();
                self.enqueue(line, Waiting { parts: whole.parts.clone(), reply })?;
                answer.await.map_err(|_| SignError::Ended)??
            }
        };
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

    /// Signs a message that is alone in this server on this thread: nobody is held up, and no two threads need wake each other. `None`
    /// where it is not alone, or keys are elsewhere.
    fn sign_here(
        &self,
        line: &Arc<Line>,
        parts: &Arc<Parts>,
    ) -> Option<Result<(Evidence, UnixTime), SignError>> {
        let signer = self.signer.in_process()?;
        let under_way: usize = self.slots.iter().map(Admission::in_use).sum();
        if under_way != 1 || std::mem::replace(&mut lock(&line.queue).busy, true) {
            return None;
        }
        let release = ReleaseOnPanic(line);
        self.together.record(1.0);
        let Prepared { subject, unsigned, at } = self.prepare(line, vec![parts.clone()]);
        let SigningIdentity { key, algorithm, .. } = &*line.identity;
        let info = unsigned.signed_info();
        let value = signer.sign_blocking(key, Purpose::Message, *algorithm, EcdsaForm::Raw, info);
        drop(release);
        let mut queue = lock(&line.queue);
        queue.busy = !queue.waiting.is_empty();
        if queue.busy {
            tokio::spawn(self.clone().work(line.clone()));
        }
        drop(queue);
        let signed = value.map(|value| {
            let document = Bytes::from(unsigned.finish(&value));
            (Evidence { document, hash_chain: subject.hash_chain(0) }, at)
        });
        Some(signed.map_err(SignError::from))
    }

    /// Signs batch after batch until nobody waits.
    async fn work(self, line: Arc<Line>) {
        let _release = ReleaseOnPanic(&line);
        let mut company = Company::default();
        loop {
            while company.may_bring_more(lock(&line.queue).waiting.len()) {
                tokio::task::yield_now().await;
            }
            {
                let mut queue = lock(&line.queue);
                // Whoever is gone needs no signature.
                let before = queue.waiting.len();
                queue.waiting.retain(|waiting| !waiting.reply.is_closed());
                self.waiting.decrement((before - queue.waiting.len()) as f64);
                if queue.waiting.is_empty() {
                    queue.busy = false;
                    return;
                }
            }
            company = company.after(self.sign_batch(&line).await);
        }
    }

    /// Signs what waits when the key has its turn; how many that were.
    async fn sign_batch(&self, line: &Arc<Line>) -> usize {
        let closed = Arc::new(Mutex::new(None));
        let close = {
            let (this, line, closed) = (self.clone(), line.clone(), Arc::downgrade(&closed));
            move || {
                // Gone: it was given up, and others wait for the next operation.
                let Some(closed) = closed.upgrade() else { return Bytes::new() };
                let (parts, replies) = this.close(&line);
                let batch = this.prepare(&line, parts);
                let signed_info = Bytes::copy_from_slice(batch.unsigned.signed_info());
                *lock(&closed) = Some((batch, replies));
                signed_info
            }
        };
        let value = self.operate(line, Box::new(close)).await;
        let Some((batch, replies)) = lock(&closed).take() else {
            // The operation was refused before it began, or has not begun in time: for those who wait now it has failed.
            let (_, replies) = self.close(line);
            let refused = value.err().unwrap_or(SignError::Ended);
            let count = replies.len();
            replies.into_iter().for_each(|reply| drop(reply.send(Err(refused.clone()))));
            return count;
        };
        let document = value.map(|value| Bytes::from(batch.unsigned.finish(&value)));
        let count = replies.len();
        for (index, reply) in replies.into_iter().enumerate() {
            let evidence = document.clone().map(|document| {
                (Evidence { document, hash_chain: batch.subject.hash_chain(index) }, batch.at)
            });
            // Whoever is gone does not need it.
            let _ = reply.send(evidence);
        }
        count
    }

    /// Takes what waits.
    fn close(&self, line: &Line) -> (Vec<Arc<Parts>>, Vec<Reply>) {
        let waiting = std::mem::take(&mut lock(&line.queue).waiting);
        self.waiting.decrement(waiting.len() as f64);
        self.together.record(waiting.len() as f64);
        waiting.into_iter().map(|waiting| (waiting.parts, waiting.reply)).unzip()
    }

    fn prepare(&self, line: &Line, messages: Vec<Arc<Parts>>) -> Prepared {
        let (at, nth) = self.instant();
        let subject = Subject::of(messages);
        let (uri, digest) = subject.reference();
        let unsigned = line.template.prepare_nth(uri, &digest, at, nth);
        Prepared { subject, unsigned, at }
    }

    /// Now, and how many signatures were made in this millisecond before: together never the same twice.
    fn instant(&self) -> (UnixTime, u32) {
        let now = self.clock.now();
        let mut made = lock(&self.made);
        *made = if made.0 == now { (now, made.1 + 1) } else { (now, 0) };
        *made
    }

    async fn operate(&self, line: &Line, signed_info: signer::Message) -> Result<Vec<u8>, SignError> {
        let identity = &line.identity;
        let operation = self.signer.sign_late(
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
