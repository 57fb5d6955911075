//! Why a benchmark could not be run.
//!
//! A peer that is not installed is no error: it is a row that says so.

use std::io;
use std::time::Duration;

use grey_telemetry::{OpenKernelError, ReadError};

/// A benchmark could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A process could not be started.
    #[error("failed to start `{program}`")]
    Start {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The processes to be measured were not all there in time.
    #[error("{missing} of the processes to be measured did not answer within {waited:?}")]
    NoAnswer {
        /// How many.
        missing: usize,
        /// How long they were waited for.
        waited: Duration,
    },
    /// They would not fit.
    #[error("{count} processes need about {needed_mib} MiB, and {available_mib} MiB are available")]
    NoRoom {
        /// Processes.
        count: u32,
        /// What they need, with a margin.
        needed_mib: u64,
        /// What there is.
        available_mib: u64,
    },
    /// The processes could not be prepared or changed.
    #[error("failed to {doing}")]
    Prepare {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A peer ended or answered nonsense.
    #[error("the peer `{peer}` answered `{answer}` to `{request}`")]
    Peer {
        /// Which.
        peer: String,
        /// What it was asked.
        request: String,
        /// What it said; empty when it ended.
        answer: String,
    },
    /// Pages would go to a device that is not ours.
    #[error("this machine has swap already: turn it off, or use a machine without")]
    SwapThere,
    /// We could not read /proc.
    #[error("failed to read the processes")]
    Read {
        /// Why.
        #[from]
        source: ReadError,
    },
    /// We could not open /proc.
    #[error("failed to open the kernel's file systems")]
    Kernel {
        /// Why.
        #[from]
        source: OpenKernelError,
    },
    /// The procfs crate could not read /proc.
    #[error("the procfs crate failed to read the processes")]
    ProcfsCrate {
        /// Why.
        #[from]
        source: procfs::ProcError,
    },
    /// The sysinfo crate could not be set up.
    #[error("the sysinfo crate failed to start")]
    SysinfoCrate {
        /// Why.
        #[from]
        source: sysinfo::Error,
    },
    /// The report could not be written as JSON.
    #[error("failed to write the report as JSON")]
    Json {
        /// Why.
        #[from]
        source: serde_json::Error,
    },
    /// The report could not be printed.
    #[error("failed to print the report")]
    Print {
        /// Why.
        #[source]
        source: io::Error,
    },
}
