//! What a rule found: its state, the value, why it matters, and what mends it.
//!
//! Plain data: commands become text where they are shown.

/// How bad it is; the worst sorts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckState {
    /// It does harm, or will when memory is short.
    Problem,
    /// It may do harm.
    Warning,
    /// Worth knowing; nothing has to be done.
    Note,
    /// It could not be found out.
    Unknown,
    /// As it should be.
    Ok,
}

impl CheckState {
    /// Every state, the worst first.
    pub const ALL: [Self; 5] = [
        Self::Problem,
        Self::Warning,
        Self::Note,
        Self::Unknown,
        Self::Ok,
    ];

    /// Whether a run that finds it ends with an exit code of its own.
    #[must_use]
    pub const fn crosses(self) -> bool {
        matches!(self, Self::Problem | Self::Warning)
    }
}

/// What mends it: something that can be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// A setting below `/proc/sys`.
    Sysctl {
        /// `vm.swappiness`.
        name: &'static str,
        /// The value to set.
        value: u64,
        /// The value that is there.
        before: u64,
    },
    /// A file of sysfs.
    SysFile {
        /// Its path below sysfs.
        path: &'static str,
        /// The value to write.
        value: String,
        /// The value that is there.
        before: String,
    },
    /// A service that is to be stopped, now and at every start.
    StopService {
        /// The unit.
        unit: String,
    },
    /// A command for a shell.
    Shell {
        /// The command.
        command: String,
        /// What takes it back.
        undo: Option<String>,
    },
    /// A command of ours that needs no privilege, without `greyctl`.
    Ours(&'static str),
    /// The same as root.
    OursAsRoot(&'static str),
}

/// Why there is no command that mends a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCommand {
    /// It is no fault.
    NothingToDo,
    /// The kernel's command line, or a mount of the system's start.
    AtStart,
    /// What the kernel was built with, or a filter allows.
    Kernel,
    /// Whoever starts the session, the container or the unit.
    Starter,
    /// Several ways lead out, and only a person can choose.
    Choice,
    /// Something must be looked at first.
    Cause,
    /// Another check has it.
    Elsewhere,
}

impl NoCommand {
    /// The reason, a sentence without its full stop.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NothingToDo => "nothing has to be done",
            Self::AtStart => {
                "it is decided while the machine starts, and where that is set differs from \
                 machine to machine"
            }
            Self::Kernel => "a kernel has what it was built with and its filters allow",
            Self::Starter => "it is set by whatever starts this session or container",
            Self::Choice => "which of the ways is right only you can say",
            Self::Cause => "what helps depends on what is found there",
            Self::Elsewhere => "the check that is named has what mends it",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which check; never changes, for programs.
    pub check: &'static str,
    /// What was looked at, for people.
    pub subject: &'static str,
    /// How bad it is.
    pub state: CheckState,
    /// What was found; where it could not be found out, why.
    pub found: String,
    /// Why it matters, one sentence without its full stop.
    pub why: &'static str,
    /// What to do, where no command does it or one thing must be known first.
    pub advice: Option<String>,
    /// The command that mends it.
    pub remedy: Option<Remedy>,
    /// Why there is no command, where there is none and something was found.
    pub no_command: Option<NoCommand>,
}

impl Finding {
    /// With words on what to do.
    #[must_use]
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// With words on what to do, which no command does, and why not.
    #[must_use]
    pub(super) fn by_hand(self, why: NoCommand, advice: impl Into<String>) -> Self {
        let mut finding = self.advise(advice);
        finding.no_command = Some(why);
        finding
    }

    /// With what mends it.
    #[must_use]
    pub(super) fn mend(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// A container sees the kernel's settings and may not change them.
    pub(super) fn belongs_to_the_machine(&mut self) {
        let is_machines = !matches!(
            self.remedy,
            None | Some(Remedy::Ours(_) | Remedy::OursAsRoot(_))
        );
        if is_machines && self.advice.is_none() {
            self.advice = Some("run it on the machine itself, outside of this container".into());
        }
    }
}

/// A check: its name for programs, and what it looks at for people.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check(pub(super) &'static str, pub(super) &'static str);

impl Check {
    fn finds(self, state: CheckState, found: impl Into<String>, why: &'static str) -> Finding {
        Finding {
            check: self.0,
            subject: self.1,
            state,
            found: found.into(),
            why,
            advice: None,
            remedy: None,
            no_command: None,
        }
    }

    pub(super) fn problem(self, found: impl Into<String>, why: &'static str) -> Finding {
        self.finds(CheckState::Problem, found, why)
    }

    pub(super) fn warning(self, found: impl Into<String>, why: &'static str) -> Finding {
        self.finds(CheckState::Warning, found, why)
    }

    pub(super) fn note(self, found: impl Into<String>, why: &'static str) -> Finding {
        self.finds(CheckState::Note, found, why)
    }

    pub(super) fn ok(self, found: impl Into<String>, why: &'static str) -> Finding {
        self.finds(CheckState::Ok, found, why)
    }

    pub(super) fn unknown(self, reason: impl Into<String>, why: &'static str) -> Finding {
        self.finds(CheckState::Unknown, reason, why)
    }
}

/// The value of a reading; where there is none, the rule ends as unknown.
macro_rules! known {
    ($check:expr, $reading:expr, $why:expr) => {
        match $reading.look() {
            Ok(value) => value,
            Err(reason) => return $check.unknown(reason, $why),
        }
    };
}
pub(super) use known;
