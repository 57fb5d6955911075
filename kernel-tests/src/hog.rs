//! Processes that hold memory, as a case sees them: how much, of which kind, in
//! which cgroup.
//!
//! The memory itself is taken in another process, see [`crate::hog_process`].

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;

use crate::case::Failure;
use crate::guest::say;
use crate::processes;
use crate::program::process_id;

/// Time for a hog to touch all its memory once, in an emulated guest.
const READY_BOUND: Duration = Duration::from_secs(120);

/// What a hog holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HogKind {
    /// Private anonymous memory.
    Anonymous,
    /// Memory of a memfd, mapped: counts as shared memory and as cache.
    Shared,
    /// Private anonymous memory that is locked: it cannot be swapped.
    Locked,
    /// Private anonymous memory offered to KSM with `MADV_MERGEABLE`.
    Mergeable,
    /// A file in `/scratch` (see [`HogOptions::file`]), written, synced and read:
    /// clean file cache, mapped by nobody. The file goes with the hog.
    FileCache,
    /// The same, never synced: dirty file cache, as far as the kernel lets it.
    DirtyFileCache,
}

/// What is in the hog's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HogContent {
    /// Random: zram stores such a page as it is.
    Incompressible,
    /// A quarter random: zram stores it in about a third.
    Compressible,
    /// Every page the same, and not zero: what KSM merges.
    Identical,
}

/// What kind of hog a case wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HogOptions {
    /// How much it holds.
    pub mebibytes: u64,
    /// Of what.
    pub kind: HogKind,
    /// With what in it.
    pub content: HogContent,
    /// The cgroup it joins before it takes any memory; else where the case is.
    pub cgroup: Option<PathBuf>,
    /// The file of a file-cache hog.
    pub file: PathBuf,
    /// Touches all of it again and again, so that all of it is in use.
    pub keep_touching: bool,
}

impl HogOptions {
    /// Compressible anonymous memory that is touched once.
    #[must_use]
    pub fn anonymous(mebibytes: u64) -> Self {
        Self {
            mebibytes,
            kind: HogKind::Anonymous,
            content: HogContent::Compressible,
            cgroup: None,
            file: PathBuf::from("/scratch/hog"),
            keep_touching: false,
        }
    }

    /// The same of another kind.
    #[must_use]
    pub fn of(self, kind: HogKind) -> Self {
        Self { kind, ..self }
    }

    /// The same with other content.
    #[must_use]
    pub fn filled_with(self, content: HogContent) -> Self {
        Self { content, ..self }
    }

    /// The same in a cgroup.
    #[must_use]
    pub fn in_cgroup(self, cgroup: &Path) -> Self {
        Self {
            cgroup: Some(cgroup.to_owned()),
            ..self
        }
    }

    /// The same with another file.
    #[must_use]
    pub fn with_file(self, file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            ..self
        }
    }

    /// The same, in use all the time.
    #[must_use]
    pub fn touching(self) -> Self {
        Self {
            keep_touching: true,
            ..self
        }
    }

    /// The command line of [`crate::hog_process`].
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
            value().map_or_else(String::new, |value| value.get_name().to_owned())
        };
        let mut all = vec![
            "hog".to_owned(),
            "--mebibytes".to_owned(),
            self.mebibytes.to_string(),
            "--kind".to_owned(),
            name(&|| self.kind.to_possible_value()),
            "--content".to_owned(),
            name(&|| self.content.to_possible_value()),
            "--file".to_owned(),
            self.file.display().to_string(),
        ];
        if let Some(cgroup) = &self.cgroup {
            all.extend(["--cgroup".to_owned(), cgroup.display().to_string()]);
        }
        if self.keep_touching {
            all.push("--keep-touching".to_owned());
        }
        all
    }
}

/// A running hog. Killed when dropped; it also ends with the case.
#[derive(Debug)]
pub struct Hog {
    child: Child,
    orders: ChildStdin,
    answers: Receiver<String>,
}

impl Hog {
    pub(crate) fn start(options: &HogOptions) -> Result<Self, Failure> {
        let program = std::env::current_exe()?;
        Self::start_program(&program, options)
    }

    /// Starts the hog with the `kernel-cases` program given.
    ///
    /// # Errors
    /// When it cannot be started, or is gone before all is touched.
    pub fn start_program(program: &Path, options: &HogOptions) -> Result<Self, Failure> {
        let arguments = options.arguments();
        say(&format!("+ {}", arguments.join(" ")));
        let mut child = Command::new(program)
            .args(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::while_doing("start a memory hog", &error))?;
        let (Some(orders), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new("a memory hog was started without its pipes"));
        };
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let hog = Self {
            child,
            orders,
            answers,
        };
        hog.expect_answer("ready")?;
        Ok(hog)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        process_id(&self.child)
    }

    /// Has nobody killed it?
    #[must_use]
    pub fn is_alive(&self) -> bool {
        processes::is_alive(self.pid())
    }

    /// Lets it touch all its memory once more, and waits for that.
    ///
    /// # Errors
    /// When it is gone, or is too slow.
    pub fn touch_again(&mut self) -> Result<(), Failure> {
        self.orders
            .write_all(b"touch\n")
            .map_err(|error| Failure::while_doing("send an order to a memory hog", &error))?;
        self.expect_answer("touched")
    }

    fn expect_answer(&self, wanted: &str) -> Result<(), Failure> {
        match self.answers.recv_timeout(READY_BOUND) {
            Ok(answer) if answer == wanted => Ok(()),
            Ok(answer) => Err(Failure::new(format!(
                "a memory hog said `{answer}`, not `{wanted}`"
            ))),
            Err(error) => Err(Failure::new(format!(
                "memory hog {} did not say `{wanted}`: {error}",
                self.child.id()
            ))),
        }
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        // It may be dead already: that is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
