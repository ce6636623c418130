//! The event log of the server's own configuration: one write records a change before it takes effect.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use host::store::{EventLog, Store, StoreError};
use proto::time::UnixTime;

use super::Refusal;
use super::event::{Event, Stored};
use super::state::{Inconsistent, State};

/// The tree in `state/`.
pub const TREE: &str = "serverconf";

/// Decides, records, applies.
#[derive(Debug)]
pub struct ServerConfStore {
    log: EventLog,
    state: ArcSwap<State>,
    /// Held from a decision to its record; readers do not wait for it.
    writing: Mutex<()>,
}

/// Why a change did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Against the rules.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Stored events do not fit together.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
}

impl ServerConfStore {
    /// Replays the log in `store`.
    ///
    /// # Errors
    /// The database, or damage.
    pub fn open(store: &Store) -> Result<Self, ChangeError> {
        let log = EventLog::open(store, TREE)?;
        let events = log.replay::<Stored>()?;
        let events = events.into_iter().map(|recorded| (recorded.at, recorded.event.into_event()));
        let state = ArcSwap::from_pointee(State::replay_recorded(events)?);
        Ok(Self { log, state, writing: Mutex::new(()) })
    }

    /// The present state.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Decides `events` in order, each after those before it, and records them together: all of them or none. A refusal is recorded
    /// too. Blocks: not on an async worker.
    ///
    /// # Errors
    /// The first refusal, or the disk; nothing has changed then.
    pub fn change(&self, at: UnixTime, actor: &str, events: Vec<Event>) -> Result<(), ChangeError> {
        self.change_with(at, actor, |_| Ok::<_, ChangeError>((events, ())))
    }

    /// As [`Self::change`], with events that `plan` makes of the state that they will meet, and what else it found.
    ///
    /// # Errors
    /// What `plan` says, the first refusal, or the disk; nothing has changed then.
    pub fn change_with<T, E: From<ChangeError>>(
        &self,
        at: UnixTime,
        actor: &str,
        plan: impl FnOnce(&State) -> Result<(Vec<Event>, T), E>,
    ) -> Result<T, E> {
        // A panic while the lock is held leaves the old state, which is what the log says.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state.load_full();
        let (events, found) = plan(&state)?;
        if !events.is_empty() {
            self.record(at, actor, &state, events)?;
        }
        Ok(found)
    }

    fn record(
        &self,
        at: UnixTime,
        actor: &str,
        state: &State,
        events: Vec<Event>,
    ) -> Result<(), ChangeError> {
        let mut next = state.clone();
        for event in &events {
            if let Err(refusal) = next.decide(event) {
                // Without the contents: a refused value may be as large as its sender liked.
                let change = format!("{event:?}").chars().take(200).collect();
                let refused = Event::Refused { change, reason: refusal.to_string() };
                self.log.record(at, actor, &[Stored::V1(refused)])?;
                return Err(refusal.into());
            }
            next.apply(at, event.clone())?;
        }
        let stored: Vec<_> = events.into_iter().map(Stored::V1).collect();
        self.log.record(at, actor, &stored)?;
        self.state.store(Arc::new(next));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proto::id::{MemberId, ServerId};

    use super::*;
    use crate::serverconf::ConnectionType;
    use crate::testing::{NOW, client};

    #[test]
    fn changes_are_recorded_together_and_refusals_too() {
        let folder = tempfile::tempdir().unwrap();
        let named = Event::ServerNamed {
            id: ServerId { owner: MemberId::new("EE", "GOV", "1"), code: "ss1".into() },
        };
        let added = |id: &str| Event::ClientAdded { client: client(id), connection: ConnectionType::Http };
        let before = {
            let store = Store::open(folder.path()).unwrap();
            let conf = ServerConfStore::open(&store).unwrap();
            conf.change(NOW, "me", vec![named.clone(), added("EE/GOV/1/a")]).unwrap();
            let before = conf.state();
            let twice = conf.change(NOW, "me", vec![added("EE/GOV/1/b"), added("EE/GOV/1/a")]);
            assert!(matches!(twice, Err(ChangeError::Refused(Refusal::ClientExists(_)))));
            assert_eq!(conf.state(), before, "all of them or none");
            before
        };
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(ServerConfStore::open(&store).unwrap().state(), before);
        let recorded = EventLog::open(&store, TREE).unwrap().replay::<Stored>().unwrap();
        let events: Vec<_> =
            recorded.iter().map(|r| (r.actor.as_str(), r.event.clone().into_event())).collect();
        assert_eq!(events[..2], [("me", named), ("me", added("EE/GOV/1/a"))]);
        assert!(
            matches!(&events[2..], [("me", Event::Refused { reason, .. })] if reason.contains("already"))
        );
    }
}
