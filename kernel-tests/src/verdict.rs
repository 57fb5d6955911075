//! The lines that a guest sends to the machine that booted it: one JSON
//! document each, behind a marker, so that stray console text does no harm.
//!
//! Never decides anything. `xtask/src/verdicts.rs` reads what is written here.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::case::{Failure, GuestName, Outcome};

/// What every line begins with.
pub const MARKER: &str = "grey-verdict ";

/// One line from the guest.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "record", rename_all = "lowercase")]
pub enum Record {
    /// The guest is up and will run so many cases.
    Begin {
        /// Which guest it believes it is.
        guest: GuestName,
        /// `uname -r`.
        kernel: String,
        /// How many verdicts will follow.
        cases: usize,
    },
    /// A case begins.
    Started {
        /// Its name.
        case: String,
    },
    /// A case has ended.
    Verdict {
        /// Its name.
        case: String,
        /// What it found.
        #[serde(flatten)]
        outcome: Outcome,
        /// How long it took in the guest's time, in seconds.
        seconds: f64,
        /// The end of what it printed; empty when it passed.
        log: String,
    },
    /// All cases have ended. A guest that stops without it gave no verdict.
    End,
}

/// Where the lines go: a serial port, or an ordinary file.
#[derive(Debug)]
pub struct Verdicts {
    path: PathBuf,
    file: File,
}

impl Verdicts {
    /// Opens `path` to append to it; it is made when it is missing.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(|error| Failure::while_doing(format!("open `{}`", path.display()), &error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Sends one line.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn send(&mut self, record: &Record) -> Result<(), Failure> {
        let line = serde_json::to_string(record)?;
        // The leading line break ends whatever stray text is on the line.
        let text = format!("\n{MARKER}{line}\n");
        self.write(&text).map_err(|error| {
            Failure::while_doing(format!("write to `{}`", self.path.display()), &error)
        })
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        self.file.flush()
    }
}
