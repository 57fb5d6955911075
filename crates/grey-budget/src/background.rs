//! A thread of ours: joined once, by somebody else than itself, and only in the
//! process that it runs in.
//!
//! A child of a fork has the handles of its parent's threads and none of the
//! threads; to join one there panics.

use std::mem::ManuallyDrop;
use std::thread::{self, JoinHandle, Thread};

/// A thread that runs beside the program.
#[derive(Debug)]
pub(crate) struct Background {
    handle: ManuallyDrop<JoinHandle<()>>,
    process: u32,
}

impl Background {
    pub(crate) fn new(handle: JoinHandle<()>) -> Self {
        Self {
            handle: ManuallyDrop::new(handle),
            process: std::process::id(),
        }
    }

    /// The thread itself.
    pub(crate) fn thread(&self) -> &Thread {
        self.handle.thread()
    }

    /// Waits for its end, where there is anything to wait for.
    pub(crate) fn join(self) {
        if self.process != std::process::id() {
            // Not even dropped: that detaches a thread which is not there.
            return;
        }
        let handle = ManuallyDrop::into_inner(self.handle);
        if handle.thread().id() != thread::current().id() {
            // What a panic there said was told by the panic itself.
            let _ = handle.join();
        }
    }
}
