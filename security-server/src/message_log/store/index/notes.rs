//! What the index is told: a bounded queue that does not wake the index for every commit.
//!
//! Nobody looks into the index for a record that was logged a moment ago, and whoever does says so ([`Note::Barrier`]). So its thread
//! takes what has come when somebody asks, when much has come ([`ENOUGH`] records), and else [`LINGER`] after the first: a core that
//! was woken for each commit would be taken from the exchanges.
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::runs::{Merge, Run};
use super::{Commit, lock};

/// Records for which the index is woken at once.
const ENOUGH: u64 = 2048;
/// Records that may wait; with more, whoever brings some waits.
const MOST: u64 = 65_536;
/// How long what is less may wait.
const LINGER: Duration = Duration::from_millis(100);

/// What the index is told.
#[derive(Debug)]
pub(super) enum Note {
    /// What a commit added.
    Added(Commit),
    /// A merge beside the index has ended.
    Merged(Merge, std::io::Result<Option<Run>>),
    /// Answer when everything before is in.
    Barrier(oneshot::Sender<()>),
    /// Write to the disk what there is, answer, end.
    Close(oneshot::Sender<()>),
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Notes {
    waiting: Mutex<Waiting>,
    come: Condvar,
    taken: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    notes: VecDeque<Note>,
    records: u64,
    /// Somebody waits for an answer, or there is enough.
    urgent: bool,
    /// The thread has ended: nothing is taken any more.
    closed: bool,
}

impl Notes {
    /// Adds a note; waits while far too much is there. After [`Note::Close`] notes are dropped.
    pub(super) fn push(&self, note: Note) {
        let mut waiting = lock(&self.waiting);
        if let Note::Added(commit) = &note {
            while waiting.records >= MOST && !waiting.closed {
                waiting = self.taken.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            waiting.records += commit.records();
        }
        if waiting.closed {
            return;
        }
        waiting.closed = matches!(note, Note::Close(_));
        let (first, was_urgent) = (waiting.notes.is_empty(), waiting.urgent);
        waiting.urgent |= waiting.records >= ENOUGH || !matches!(note, Note::Added(..));
        waiting.notes.push_back(note);
        if first || waiting.urgent != was_urgent {
            self.come.notify_one();
        }
    }

    /// What has come, once that is due.
    pub(super) fn take(&self) -> VecDeque<Note> {
        let waiting = lock(&self.waiting);
        let any = self.come.wait_while(waiting, |waiting| waiting.notes.is_empty());
        let any = any.unwrap_or_else(PoisonError::into_inner);
        let due = self.come.wait_timeout_while(any, LINGER, |waiting| !waiting.urgent);
        let mut due = due.unwrap_or_else(PoisonError::into_inner).0;
        (due.records, due.urgent) = (0, false);
        self.taken.notify_all();
        std::mem::take(&mut due.notes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_question_is_answered_at_once_and_what_came_before_it_is_taken_with_it() {
        let notes = Arc::new(Notes::default());
        let taker = std::thread::spawn({
            let notes = notes.clone();
            move || {
                let mut kinds = Vec::new();
                loop {
                    for note in notes.take() {
                        match note {
                            Note::Added(commit) => kinds.push(commit.heads.len()),
                            Note::Barrier(answer) => answer.send(()).unwrap(),
                            Note::Close(answer) => {
                                answer.send(()).unwrap();
                                return kinds;
                            }
                            Note::Merged(..) => unreachable!("none was pushed"),
                        }
                    }
                }
            }
        });
        for number in 1..=3 {
            notes.push(Note::Added(Commit { heads: vec![0; number], ..Commit::default() }));
        }
        let (answer, reached) = oneshot::channel();
        notes.push(Note::Barrier(answer));
        reached.blocking_recv().unwrap();
        let (answer, closed) = oneshot::channel();
        notes.push(Note::Close(answer));
        closed.blocking_recv().unwrap();
        assert_eq!(taker.join().unwrap(), [1, 2, 3]);
        let (answer, never) = oneshot::channel();
        notes.push(Note::Barrier(answer));
        assert!(never.blocking_recv().is_err(), "nobody is there to answer, and nobody waits");
    }
}
