//! The recorder's black box: a thread that reads the machine ten times a second
//! into a ring, and keeps the ring as a dump when something happens.
//!
//! Never waits for the recorder: a disk that makes that wait makes no gap here.
//! Ends when it is dropped.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::Instant;

use grey_model::BootId;
use grey_telemetry::Kernel;
use grey_telemetry::ReadError;
use grey_telemetry::history::{
    Alarm, DumpFolder, DumpReason, HistoryError, RING_INTERVAL, RING_LENGTH, Ring, RingReader,
};

/// What was kept, or could not be.
pub(super) type Kept = (DumpReason, Result<String, HistoryError>);

/// The thread.
pub(super) struct BlackBox {
    is_locked: bool,
    told: Receiver<Kept>,
    /// Ends the thread when it is dropped.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl BlackBox {
    /// Begins to read `kernel`, whose boot is `boot`, and to keep dumps in
    /// `folder`.
    ///
    /// # Errors
    /// [`ReadError`] when meminfo cannot be opened.
    pub(super) fn start(
        kernel: &Kernel,
        boot: BootId,
        folder: DumpFolder,
    ) -> Result<Self, ReadError> {
        let reader = RingReader::new(kernel)?;
        let ring = Ring::new(RING_LENGTH);
        let is_locked = ring.is_locked();
        let (stop, stopped) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            watch(reader, ring, &stopped, |reason, ring| {
                let kept = folder.write(reason, &ring.samples(&boot));
                // Nobody is there any more: then nobody is to be told.
                let _ = tell.send((reason, kept));
            });
        });
        Ok(Self {
            is_locked,
            told,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Whether the ring cannot be paged out.
    pub(super) const fn is_locked(&self) -> bool {
        self.is_locked
    }

    /// What was kept since the last call.
    pub(super) fn news(&self) -> Vec<Kept> {
        let mut news = Vec::new();
        loop {
            match self.told.try_recv() {
                Ok(kept) => news.push(kept),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return news,
            }
        }
    }
}

impl Drop for BlackBox {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has told of what it could; there is nothing to be done about a
            // thread that panicked.
            let _ = thread.join();
        }
    }
}

fn watch(
    mut reader: RingReader,
    mut ring: Ring,
    stopped: &Receiver<()>,
    keep: impl Fn(DumpReason, &Ring),
) {
    let mut alarm = Alarm::default();
    let mut next = Instant::now();
    loop {
        ring.push(&reader.read());
        if let Some(reason) = alarm.judge(&ring) {
            keep(reason, &ring);
        }
        next += RING_INTERVAL;
        let now = Instant::now();
        // Behind, as after a suspend: what was missed is not made up for.
        next = next.max(now);
        match stopped.recv_timeout(next - now) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
