//! Tasks that wait for a loader do not wait for ever: one thread of the process
//! tells them when it took too long. It exists while somebody waits.
//!
//! Never keeps a load alive, and calls nothing under its lock.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::flight::LONGEST_WAIT;

/// A load that others wait for.
pub(super) trait Late: Send + Sync {
    /// It took too long: whoever waits goes on alone.
    fn give_up(&self);
}

#[derive(Default)]
struct Waited {
    /// In the order of their times, since all are waited for as long.
    loads: VecDeque<(Instant, Weak<dyn Late>)>,
    /// The process whose thread tells; a child of it has none.
    runs_in: Option<u32>,
}

impl Waited {
    fn is_running(&self) -> bool {
        self.runs_in == Some(std::process::id())
    }
}

/// The loads that tasks wait for.
#[derive(Default)]
pub(super) struct Watch(Mutex<Waited>);

static WATCH: Watch = Watch(Mutex::new(Waited {
    loads: VecDeque::new(),
    runs_in: None,
}));

/// Tells whoever waits for `load` when that is too long.
pub(super) fn watch(load: Weak<dyn Late>) {
    WATCH.add(load, Instant::now());
    let mut waited = WATCH.waited();
    if !waited.is_running() {
        // Without a thread they wait as long as it takes.
        let started = std::thread::Builder::new()
            .name("grey-late-loads".to_owned())
            .spawn(|| WATCH.run());
        waited.runs_in = started.ok().map(|_| std::process::id());
    }
}

impl Watch {
    fn waited(&self) -> MutexGuard<'_, Waited> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, load: Weak<dyn Late>, now: Instant) {
        let mut waited = self.waited();
        while waited
            .loads
            .front()
            .is_some_and(|(_, load)| load.strong_count() == 0)
        {
            waited.loads.pop_front();
        }
        waited.loads.push_back((now + LONGEST_WAIT, load));
    }

    fn run(&self) {
        while let Some(next) = self.tell(Instant::now()) {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    /// Tells those of loads that are too late at `now`. When the next one is;
    /// `None`, and the thread ends, when there is none.
    fn tell(&self, now: Instant) -> Option<Instant> {
        loop {
            let mut waited = self.waited();
            let Some((at, load)) = waited.loads.pop_front() else {
                waited.runs_in = None;
                return None;
            };
            if at > now && load.strong_count() > 0 {
                waited.loads.push_front((at, load));
                return Some(at);
            }
            drop(waited);
            // Whoever loads and waits may have gone meanwhile: then we drop the
            // last of it, and with it the program's key and value.
            let told = catch_unwind(AssertUnwindSafe(move || {
                if let Some(load) = load.upgrade() {
                    load.give_up();
                }
            }));
            if told.is_err() {
                tracing::error!("a load panicked when it was dropped");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Told(AtomicBool);

    impl Late for Told {
        fn give_up(&self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// Nobody else has it any more once it was told, and its drop panics.
    #[derive(Default)]
    struct Last(Mutex<Option<Arc<Last>>>);

    impl Late for Last {
        fn give_up(&self) {
            *self.0.lock().unwrap() = None;
        }
    }

    impl Drop for Last {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn a_load_whose_drop_panics_keeps_nobody_else_from_being_told() {
        let (watch, load) = (Watch::default(), Arc::new(Told::default()));
        let start = Instant::now();
        let last = Arc::new(Last::default());
        watch.add(Arc::downgrade(&last) as Weak<dyn Late>, start);
        watch.add(Arc::downgrade(&load) as Weak<dyn Late>, start);
        *last.0.lock().unwrap() = Some(Arc::clone(&last));
        drop(last);
        assert_eq!(watch.tell(start + LONGEST_WAIT), None);
        assert!(load.0.load(Ordering::SeqCst));
    }

    #[test]
    fn a_thread_of_the_parent_is_none_of_ours() {
        let in_process = |runs_in| Waited {
            runs_in,
            ..Waited::default()
        };
        assert!(in_process(Some(std::process::id())).is_running());
        assert!(!in_process(Some(std::os::unix::process::parent_id())).is_running());
        assert!(!in_process(None).is_running());
    }

    #[test]
    fn who_waits_is_told_when_it_is_too_long_and_not_before() {
        let (watch, load, ended) = (Watch::default(), Arc::new(Told::default()), Told::default());
        let start = Instant::now();
        watch.add(Arc::downgrade(&Arc::new(ended)) as Weak<dyn Late>, start);
        watch.add(Arc::downgrade(&load) as Weak<dyn Late>, start);
        let at = watch.tell(start).unwrap();
        assert_eq!(at, start + LONGEST_WAIT);
        assert_eq!(watch.tell(at - Duration::from_nanos(1)), Some(at));
        assert!(!load.0.load(Ordering::SeqCst));
        assert_eq!(watch.tell(at), None);
        assert!(load.0.load(Ordering::SeqCst));
    }
}
