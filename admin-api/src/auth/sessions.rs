//! Sessions of people: in memory, ended by silence, with a token against forged requests.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::time::UnixTime;

use crate::operation::Role;

/// Silence that ends a session.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// Most sessions at once; the one that was silent longest goes first.
const MAX_SESSIONS: usize = 1000;

/// A live session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub user: String,
    /// What the user may be.
    pub roles: BTreeSet<Role>,
    /// What requests have to bring along.
    pub csrf: String,
    last_used: UnixTime,
}

/// All sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    live: Mutex<HashMap<String, Session>>,
}

impl Sessions {
    /// Begins one; gives its id.
    pub fn begin(&self, user: &str, roles: BTreeSet<Role>, now: UnixTime) -> (String, Session) {
        let mut live = self.lock();
        live.retain(|_, session| now.since(session.last_used) < IDLE);
        while live.len() >= MAX_SESSIONS {
            let oldest = live.iter().min_by_key(|(_, session)| session.last_used).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { break };
            live.remove(&oldest);
        }
        let id = format!("{}{}", random(), random());
        let session = Session { user: user.to_owned(), roles, csrf: random(), last_used: now };
        live.insert(id.clone(), session.clone());
        (id, session)
    }

    /// A live session; `prolongs` says whether this counts as use of it.
    pub fn find(&self, id: &str, now: UnixTime, prolongs: bool) -> Option<Session> {
        let mut live = self.lock();
        let session = live.get_mut(id)?;
        if now.since(session.last_used) >= IDLE {
            live.remove(id);
            return None;
        }
        if prolongs {
            session.last_used = now;
        }
        Some(session.clone())
    }

    /// Gives a session another token; the old one is dead.
    pub fn renew_csrf(&self, id: &str) -> Option<String> {
        let mut live = self.lock();
        let session = live.get_mut(id)?;
        session.csrf = random();
        Some(session.csrf.clone())
    }

    /// Ends a session; says whose it was.
    pub fn end(&self, id: &str) -> Option<String> {
        self.lock().remove(id).map(|session| session.user)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_ends_a_session_and_looking_does_not_prolong_it() {
        let sessions = Sessions::default();
        let at = |minutes: i64| UnixTime::from_secs(minutes * 60);
        let (id, _) = sessions.begin("ann", BTreeSet::new(), at(0));
        assert!(sessions.find(&id, at(29), true).is_some());
        assert!(sessions.find(&id, at(58), false).is_some());
        assert!(sessions.find(&id, at(60), false).is_none());
        assert!(sessions.find(&id, at(1), false).is_none(), "it is gone for good");
    }

    #[test]
    fn the_longest_silent_goes_when_there_are_too_many() {
        let sessions = Sessions::default();
        let first = sessions.begin("ann", BTreeSet::new(), UnixTime(0)).0;
        for n in 1..=MAX_SESSIONS as i64 {
            sessions.begin("bob", BTreeSet::new(), UnixTime(n));
        }
        assert!(sessions.find(&first, UnixTime(1), true).is_none());
    }
}
