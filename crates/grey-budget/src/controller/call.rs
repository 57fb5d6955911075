//! Calls the program's code: on another thread, with a deadline, and with its
//! panics caught.
//!
//! Never waits for who is late; never starts more threads than its bound.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// The most calls that are out at once, late ones among them: each has a thread,
/// which takes some ten KiB while it hangs.
pub(super) const MOST_CALLS: usize = 256;

/// Of these, places for who has come back from every request so far: however
/// many others hang, they are called.
pub(super) const RESERVED_CALLS: usize = 32;

/// How often who waits for a call looks whether it should.
const SLICE: Duration = Duration::from_millis(100);

/// How long a call is waited for at most, and whether it is waited for no longer.
pub(super) type Patience<'a> = (Duration, Option<&'a dyn Fn() -> bool>);

/// How a call ended.
#[derive(Debug)]
pub(super) enum Called<T> {
    /// It returned.
    Returned(T),
    /// It panicked, with this message.
    Panicked(String),
    /// It has not returned yet.
    Late,
    /// It was not made.
    NotMade(&'static str),
}

/// Makes calls, and counts those that have not returned.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller {
    out: Arc<AtomicUsize>,
}

/// Counts a call as long as it runs.
struct Out(Arc<AtomicUsize>);

impl Drop for Out {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Caller {
    /// How many calls have not returned.
    pub(super) fn out(&self) -> usize {
        self.out.load(Ordering::Acquire)
    }

    /// Calls `work`, and waits for it at most for `deadline`. `returned` runs
    /// after it on its thread, however late.
    /// `is_proven` for who may have a reserved place. `gives_up` is asked now and
    /// then whether it is waited for no longer.
    pub(super) fn call<T: Send + 'static>(
        &self,
        name: &str,
        is_proven: bool,
        (deadline, gives_up): Patience<'_>,
        work: impl FnOnce() -> T + Send + 'static,
        returned: impl FnOnce() + Send + 'static,
    ) -> Called<T> {
        let most = MOST_CALLS - if is_proven { 0 } else { RESERVED_CALLS };
        if self.out.fetch_add(1, Ordering::AcqRel) >= most {
            self.out.fetch_sub(1, Ordering::AcqRel);
            return Called::NotMade("too many calls have not returned");
        }
        let out = Out(Arc::clone(&self.out));
        let (answer, answered) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(thread_name(name))
            .spawn(move || {
                INSIDE.set(true);
                let result = catch_unwind(AssertUnwindSafe(work));
                let closed = catch_unwind(AssertUnwindSafe(returned));
                drop(out);
                // Nobody listens any more when it was late.
                let _ = answer.send(result.map_err(|panic| message(panic.as_ref())));
                drop(closed);
            });
        if thread.is_err() {
            return Called::NotMade("no thread could be started");
        }
        let until = super::run::later(deadline);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let wait = if gives_up.is_some() {
                left.min(SLICE)
            } else {
                left
            };
            return match answered.recv_timeout(wait) {
                Ok(Ok(value)) => Called::Returned(value),
                Ok(Err(panic)) => Called::Panicked(panic),
                Err(RecvTimeoutError::Disconnected) => Called::Panicked("its result".to_owned()),
                Err(RecvTimeoutError::Timeout)
                    if wait < left && !gives_up.is_some_and(|gives_up| gives_up()) =>
                {
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => Called::Late,
            };
        }
    }
}

thread_local! {
    static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Whether this thread runs the program's code for a controller, which may be
/// waiting for it.
pub(super) fn is_inside_a_call() -> bool {
    INSIDE.get()
}

/// The kernel shows 15 bytes of a thread's name.
fn thread_name(name: &str) -> String {
    format!("grey-{name}").replace('\0', "?")
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
