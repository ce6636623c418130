//! What waits for the writer: one list under a lock that is held for some nanoseconds, handed over whole.
//!
//! Who brings something wakes the writer only when it sleeps, and whoever takes gets all there is at once; so a record costs no system
//! call and no memory of its own here. How much may wait is bounded by those who bring it: each has a place before it comes.
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::writer::lock;

/// The end where things are put in; dropping it tells the other end that nothing more comes.
pub(crate) struct Entrance<T>(Arc<Queue<T>>);

/// The end where they are taken out; dropping it drops what waits, and nothing more is taken in.
pub(crate) struct Exit<T>(Arc<Queue<T>>);

struct Queue<T> {
    state: Mutex<State<T>>,
    come: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    /// Somebody waits for the first one.
    sleeping: bool,
    no_more: bool,
    closed: bool,
}

/// What waiting came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Something,
    /// Nothing in that time.
    Nothing,
    /// Nothing, and nothing ever will.
    End,
}

/// Both ends of a new one.
pub(crate) fn queue<T>() -> (Entrance<T>, Exit<T>) {
    let state = State { waiting: VecDeque::new(), sleeping: false, no_more: false, closed: false };
    let queue = Arc::new(Queue { state: Mutex::new(state), come: Condvar::new() });
    (Entrance(queue.clone()), Exit(queue))
}

impl<T> std::fmt::Debug for Entrance<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entrance").field("waiting", &lock(&self.0.state).waiting.len()).finish()
    }
}

impl<T> Entrance<T> {
    /// Puts something in; `false` when the other end is gone.
    pub(crate) fn put(&self, thing: T) -> bool {
        let mut state = lock(&self.0.state);
        if state.closed {
            return false;
        }
        state.waiting.push_back(thing);
        let wake = std::mem::take(&mut state.sleeping);
        drop(state);
        if wake {
            self.0.come.notify_one();
        }
        true
    }
}

impl<T> Exit<T> {
    /// Everything that waits goes to the end of `to`; whether there was anything.
    pub(crate) fn take(&self, to: &mut VecDeque<T>) -> bool {
        lock(&self.0.state).give(to)
    }

    /// The same, waiting for it.
    pub(crate) fn wait(&self, to: &mut VecDeque<T>, longest: Duration) -> Came {
        let mut state = lock(&self.0.state);
        if state.waiting.is_empty() && !state.no_more {
            state.sleeping = true;
            let woken = self
                .0
                .come
                .wait_timeout_while(state, longest, |state| state.waiting.is_empty() && !state.no_more);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            state.sleeping = false;
        }
        match (state.give(to), state.no_more) {
            (true, _) => Came::Something,
            (false, false) => Came::Nothing,
            (false, true) => Came::End,
        }
    }
}

impl<T> State<T> {
    fn give(&mut self, to: &mut VecDeque<T>) -> bool {
        let any = !self.waiting.is_empty();
        match to.is_empty() {
            // Both lists keep their memory.
            true => std::mem::swap(&mut self.waiting, to),
            false => to.append(&mut self.waiting),
        }
        any
    }
}

impl<T> Drop for Entrance<T> {
    fn drop(&mut self) {
        lock(&self.0.state).no_more = true;
        self.0.come.notify_one();
    }
}

impl<T> Drop for Exit<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.closed = true;
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        drop(dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_put_in_comes_out_in_order_and_all_at_once() {
        let (entrance, exit) = queue();
        let mut taken = VecDeque::new();
        assert_eq!(exit.wait(&mut taken, Duration::ZERO), Came::Nothing);
        assert!((1..=3).all(|number| entrance.put(number)));
        assert_eq!(exit.wait(&mut taken, LONG), Came::Something);
        assert!(entrance.put(4));
        assert!(exit.take(&mut taken));
        assert!(!exit.take(&mut taken));
        assert_eq!(taken, [1, 2, 3, 4]);
        assert!(entrance.put(5));
        drop(entrance);
        assert_eq!(exit.wait(&mut taken, LONG), Came::Something, "what is there is taken first");
        assert_eq!(exit.wait(&mut taken, LONG), Came::End);
    }

    #[test]
    fn who_sleeps_is_woken_and_nobody_waits_for_an_end_that_is_gone() {
        let (entrance, exit) = queue();
        let (told, heard) = std::sync::mpsc::channel();
        let taker = std::thread::spawn(move || {
            let mut taken = VecDeque::new();
            while exit.wait(&mut taken, LONG) == Came::Something {
                taken.drain(..).for_each(|number| told.send(number).unwrap());
            }
        });
        for number in 0..1000 {
            assert!(entrance.put(number));
            // Each second one finds the taker asleep or about to be.
            if number % 2 == 1 {
                assert_eq!((heard.recv(), heard.recv()), (Ok(number - 1), Ok(number)));
            }
        }
        drop(entrance);
        taker.join().unwrap();

        let (entrance, exit) = queue();
        let (answer, waiting) = std::sync::mpsc::channel::<()>();
        assert!(entrance.put(answer));
        drop(exit);
        assert!(waiting.recv().is_err(), "what waited was dropped");
        assert!(!entrance.put(std::sync::mpsc::channel().0));
    }
}
