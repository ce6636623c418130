//! The client's connection to the signer's process: requests of many callers over one stream, through restarts of the process.
//!
//! A thread of its own does all reading and writing, so that a caller may be a task or a thread, and a TLS handshake that must have
//! its signature at once cannot wait for the very worker it keeps. At most [`QUEUE`] requests wait and [`IN_FLIGHT`] are under way;
//! who comes later is refused. Each request has a deadline. When the connection is lost, requests that may be made twice (signatures,
//! descriptions) wait for the next connection, and the others fail at once: they may have been done.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::frame::{Decoder, FrameError, MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, encode};
use super::socket;
use super::wire::{Answer, Describe, Hello, Request, Token, VERSION, answer, request};

/// Most requests that wait, those on their way to the thread not counted.
const QUEUE: usize = 1024;
/// Most requests under way: enough to keep the process's threads busy.
const IN_FLIGHT: usize = 64;
/// Most threads that wait for an answer: TLS handshakes.
const BLOCKED: usize = 64;
/// Between two tries to connect.
const AGAIN: Duration = Duration::from_millis(50);
/// For the process to say that it understands us.
const GREETING: Duration = Duration::from_secs(5);
/// How exactly deadlines are kept.
const TICK: Duration = Duration::from_millis(20);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkError {
    #[error("too many requests wait for it")]
    Busy,
    #[error("no answer within {wait:?}{problem}")]
    Late { wait: Duration, problem: String },
    #[error("the connection was lost; whether it was done is not known")]
    Lost,
    #[error("{0}")]
    Frame(FrameError),
    #[error("its answer makes no sense")]
    Senseless,
    #[error("the connection has ended")]
    Ended,
}

/// What is done with each description of the token; there is one at every connection and every change.
pub(super) type Told = Box<dyn Fn(Token) + Send>;

type Outcome = Result<answer::Body, LinkError>;

struct Job {
    body: request::Body,
    began: Instant,
    wait: Duration,
    reply: Box<dyn FnOnce(Outcome) + Send>,
}

/// The callers' end. The thread ends when it is dropped.
#[derive(Debug)]
pub(super) struct Link {
    jobs: mpsc::Sender<Job>,
    state: Arc<State>,
    blocked: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    connected: AtomicBool,
    /// Requests that the thread has taken and not answered.
    held: AtomicUsize,
    /// Why there is no connection.
    problem: Mutex<String>,
}

impl Link {
    /// Begins to connect, and goes on for ever.
    pub(super) fn start(socket: PathBuf, wait: Duration, told: Told) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (jobs, incoming) = mpsc::channel(QUEUE);
        let state = Arc::new(State::default());
        let actor = Actor {
            socket,
            wait,
            incoming,
            waiting: VecDeque::new(),
            last_id: 0,
            state: Arc::clone(&state),
            told: Arc::new(Mutex::new(told)),
        };
        let run = move || runtime.block_on(actor.run());
        std::thread::Builder::new().name("signer-link".to_owned()).spawn(run)?;
        Ok(Self { jobs, state, blocked: AtomicUsize::new(0) })
    }

    /// There is a connection now.
    pub(super) fn is_connected(&self) -> bool {
        self.state.connected.load(Ordering::Acquire)
    }

    /// Requests that wait or are under way, as far as the callers know.
    pub(super) fn queue_length(&self) -> usize {
        QUEUE - self.jobs.capacity() + self.state.held.load(Ordering::Relaxed)
    }

    /// Asks and waits, at most `wait`.
    pub(super) async fn call(&self, body: request::Body, wait: Duration) -> Outcome {
        let (reply, answered) = oneshot::channel();
        // It fails when the caller was cancelled.
        self.submit(body, wait, move |outcome| drop(reply.send(outcome)))?;
        answered.await.unwrap_or(Err(LinkError::Ended))
    }

    /// The same on a thread that may wait, or in a handshake that must.
    pub(super) fn call_blocking(&self, body: request::Body, wait: Duration) -> Outcome {
        if self.blocked.fetch_add(1, Ordering::AcqRel) >= BLOCKED {
            self.blocked.fetch_sub(1, Ordering::AcqRel);
            return Err(LinkError::Busy);
        }
        let (reply, answered) = std::sync::mpsc::sync_channel(1);
        let outcome = self
            .submit(body, wait, move |outcome| drop(reply.send(outcome)))
            .and_then(|()| off_worker(|| answered.recv()).unwrap_or(Err(LinkError::Ended)));
        self.blocked.fetch_sub(1, Ordering::AcqRel);
        outcome
    }

    fn submit(
        &self,
        body: request::Body,
        wait: Duration,
        reply: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<(), LinkError> {
        let job = Job { body, began: Instant::now(), wait, reply: Box::new(reply) };
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LinkError::Busy,
            mpsc::error::TrySendError::Closed(_) => LinkError::Ended,
        })
    }
}

/// Waits without keeping other tasks from this worker, where the runtime has several.
fn off_worker<T>(wait: impl FnOnce() -> T) -> T {
    let several =
        Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if several { tokio::task::block_in_place(wait) } else { wait() }
}

impl Job {
    fn is_late(&self, now: Instant) -> bool {
        now.duration_since(self.began) >= self.wait
    }
    fn fail(self, error: LinkError) {
        (self.reply)(Err(error));
    }
    /// Asked twice it does no more than asked once.
    fn is_repeatable(&self) -> bool {
        matches!(
            self.body,
            request::Body::Sign(_) | request::Body::Describe(_) | request::Body::AuthenticationKey(_)
        )
    }
}

struct Actor {
    socket: PathBuf,
    wait: Duration,
    incoming: mpsc::Receiver<Job>,
    waiting: VecDeque<Job>,
    last_id: u64,
    state: Arc<State>,
    told: Arc<Mutex<Told>>,
}

/// One connection, greeted.
struct Connection {
    stream: UnixStream,
    decoder: Decoder<Answer>,
    outgoing: BytesMut,
    under_way: HashMap<u64, Job>,
}

impl Actor {
    async fn run(mut self) {
        loop {
            let connecting = connect(self.socket.clone());
            let Some(connected) = self.meanwhile(connecting).await else { return };
            match connected {
                Ok(mut connection) => {
                    self.state.connected.store(true, Ordering::Release);
                    tracing::info!(socket = %self.socket.display(), "connected to the signer");
                    let ended = self.exchange(&mut connection).await;
                    self.state.connected.store(false, Ordering::Release);
                    self.take_back(connection);
                    let Err(problem) = ended else { return };
                    tracing::warn!(problem, "the connection to the signer was lost");
                    self.note(problem);
                }
                Err(problem) => self.note(problem),
            }
            if self.meanwhile(tokio::time::sleep(AGAIN)).await.is_none() {
                return;
            }
        }
    }

    fn note(&self, problem: String) {
        *self.state.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// Takes requests and lets late ones fail until `what` is done; `None` when there are no callers any more.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(what);
        let mut tick = ticks();
        loop {
            tokio::select! {
                done = &mut what => return Some(done),
                job = self.incoming.recv(), if self.waiting.len() < QUEUE => self.waiting.push_back(job?),
                _ = tick.tick(), if !self.waiting.is_empty() => self.fail_late(),
            }
        }
    }

    /// Runs a connection until it is lost, for which it gives the reason; `Ok` when there are no callers any more.
    async fn exchange(&mut self, connection: &mut Connection) -> Result<(), String> {
        let mut tick = ticks();
        self.waiting.push_front(self.describe());
        loop {
            self.fill(connection);
            self.state.held.store(self.waiting.len() + connection.under_way.len(), Ordering::Relaxed);
            let idle = self.waiting.is_empty() && connection.under_way.is_empty();
            let (mut reader, mut writer) = connection.stream.split();
            tokio::select! {
                read = reader.read_buf(connection.decoder.buffer()) => match read {
                    Ok(0) => return Err("it has ended".to_owned()),
                    Ok(_) => self.deliver(connection)?,
                    Err(error) => return Err(error.to_string()),
                },
                written = writer.write_buf(&mut connection.outgoing), if !connection.outgoing.is_empty() => {
                    written.map_err(|error| error.to_string())?;
                }
                job = self.incoming.recv(), if self.waiting.len() < QUEUE => match job {
                    Some(job) => self.waiting.push_back(job),
                    None => return Ok(()),
                },
                _ = tick.tick(), if !idle => {
                    self.fail_late();
                    self.fail_late_under_way(connection);
                }
            }
        }
    }

    /// Puts waiting requests on their way.
    fn fill(&mut self, connection: &mut Connection) {
        while connection.under_way.len() < IN_FLIGHT
            && let Some(job) = self.waiting.pop_front()
        {
            // Ids of requests that were given up may still be answered: none is used twice.
            self.last_id += 1;
            match encode(&Request { id: self.last_id, body: Some(job.body.clone()) }, MAX_REQUEST_BYTES) {
                Ok(frame) => {
                    connection.outgoing.extend_from_slice(&frame);
                    connection.under_way.insert(self.last_id, job);
                }
                Err(error) => job.fail(LinkError::Frame(error)),
            }
        }
    }

    fn deliver(&mut self, connection: &mut Connection) -> Result<(), String> {
        while let Some(answer) = connection.decoder.message().map_err(|error| error.to_string())? {
            if answer.id == 0 {
                self.waiting.push_front(self.describe());
            } else if let Some(job) = connection.under_way.remove(&answer.id) {
                (job.reply)(answer.body.ok_or(LinkError::Senseless));
            }
        }
        Ok(())
    }

    fn describe(&self) -> Job {
        let told = Arc::clone(&self.told);
        let reply = move |outcome: Outcome| match outcome {
            Ok(answer::Body::Token(token)) => (told.lock().unwrap_or_else(PoisonError::into_inner))(token),
            Ok(_) => tracing::error!("the signer does not say what its token holds"),
            Err(error) => tracing::warn!(%error, "the signer did not say what its token holds"),
        };
        let body = request::Body::Describe(Describe {});
        Job { body, began: Instant::now(), wait: self.wait, reply: Box::new(reply) }
    }

    fn late(&self, wait: Duration) -> LinkError {
        let problem = self.state.problem.lock().unwrap_or_else(PoisonError::into_inner);
        let connected = self.state.connected.load(Ordering::Acquire);
        let problem = if connected || problem.is_empty() { String::new() } else { format!(": {problem}") };
        LinkError::Late { wait, problem }
    }

    fn fail_late(&mut self) {
        let now = Instant::now();
        let (late, in_time): (Vec<_>, VecDeque<_>) = {
            let mut late = Vec::new();
            let mut in_time = VecDeque::with_capacity(self.waiting.len());
            for job in self.waiting.drain(..) {
                if job.is_late(now) { late.push(job) } else { in_time.push_back(job) }
            }
            (late, in_time)
        };
        self.waiting = in_time;
        for job in late {
            let error = self.late(job.wait);
            job.fail(error);
        }
    }

    fn fail_late_under_way(&self, connection: &mut Connection) {
        let now = Instant::now();
        for (_, job) in connection.under_way.extract_if(|_, job| job.is_late(now)) {
            let error = self.late(job.wait);
            job.fail(error);
        }
    }

    /// What was under way when the connection was lost.
    fn take_back(&mut self, connection: Connection) {
        let mut jobs: Vec<_> = connection.under_way.into_iter().collect();
        jobs.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        for (_, job) in jobs {
            if job.is_repeatable() { self.waiting.push_front(job) } else { job.fail(LinkError::Lost) }
        }
    }
}

/// For looks at deadlines; after a pause there is one, not all that were left out.
fn ticks() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

/// Connects and greets.
async fn connect(socket: PathBuf) -> Result<Connection, String> {
    let greeted = tokio::time::timeout(GREETING, async {
        let stream = socket::connect(&socket).await.map_err(|error| error.to_string())?;
        let mut connection = Connection {
            stream,
            decoder: Decoder::new(MAX_ANSWER_BYTES),
            outgoing: BytesMut::new(),
            under_way: HashMap::new(),
        };
        let hello = Request { id: 1, body: Some(request::Body::Hello(Hello { version: VERSION })) };
        let frame = encode(&hello, MAX_REQUEST_BYTES).map_err(|error| error.to_string())?;
        connection.stream.write_all(&frame).await.map_err(|error| error.to_string())?;
        loop {
            match connection.decoder.message().map_err(|error| error.to_string())? {
                Some(Answer { body: Some(answer::Body::Done(_)), .. }) => return Ok(connection),
                Some(_) => return Err("it does not understand us".to_owned()),
                None => {}
            }
            match connection.stream.read_buf(connection.decoder.buffer()).await {
                Ok(0) => return Err("it closed the connection at once: are both of one version?".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    });
    greeted.await.unwrap_or_else(|_| Err(format!("it was silent for {GREETING:?}")))
}
