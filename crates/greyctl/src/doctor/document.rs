//! `grey.doctor/v1`: every check, the worst first.
//!
//! Plain data. What could not be found out is `unknown`, never well.

use grey_model::HostFacts;
use grey_policy::doctor::{CheckState, Finding, NoCommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::mend::Mend;
use crate::cli::GlobalOptions;
use crate::error_document::Ending;
use crate::exit_code::Exit;

/// The name of this document's schema.
pub(crate) const SCHEMA: &str = "grey.doctor/v1";

/// How this machine is set up.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "grey.doctor/v1")]
pub(crate) struct DoctorDocument {
    /// Always `grey.doctor/v1`.
    #[schemars(extend("const" = "grey.doctor/v1"))]
    pub(crate) schema: &'static str,
    /// The machine.
    pub(crate) host: HostFacts,
    /// How many checks ended in each state.
    pub(crate) counts: Counts,
    /// Every check, the worst first.
    pub(crate) checks: Vec<Checked>,
    /// How the run ended.
    #[serde(flatten)]
    pub(crate) ending: Ending,
}

/// How many checks ended in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Counts {
    /// It does harm, or will when memory is short.
    pub(crate) problem: u64,
    /// It may do harm.
    pub(crate) warning: u64,
    /// Worth knowing.
    pub(crate) note: u64,
    /// It could not be found out.
    pub(crate) unknown: u64,
    /// As it should be.
    pub(crate) ok: u64,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
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

impl From<CheckState> for State {
    fn from(state: CheckState) -> Self {
        match state {
            CheckState::Problem => Self::Problem,
            CheckState::Warning => Self::Warning,
            CheckState::Note => Self::Note,
            CheckState::Unknown => Self::Unknown,
            CheckState::Ok => Self::Ok,
        }
    }
}

/// One check.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Checked {
    /// Its name; never changes.
    pub(crate) check: &'static str,
    /// What was looked at, for people.
    pub(crate) subject: &'static str,
    /// How it ended.
    pub(crate) state: State,
    /// What was found; when it is unknown, why.
    pub(crate) found: String,
    /// Why it matters, one sentence.
    pub(crate) why: &'static str,
    /// What to do, or to know before doing it; `null`: nothing.
    pub(crate) advice: Option<String>,
    /// The commands that mend it; `null` where none is safe.
    pub(crate) mend: Option<Mend>,
    /// Why there is no command, where something was found and none mends it;
    /// `null` beside a command, and where nothing was found.
    pub(crate) no_command: Option<&'static str>,
}

impl DoctorDocument {
    /// The findings as they are published.
    pub(crate) fn new(
        global: &GlobalOptions,
        host: HostFacts,
        findings: Vec<Finding>,
        exit: Exit,
    ) -> Self {
        let systemd = host.systemd;
        let checks: Vec<Checked> = findings
            .into_iter()
            .map(|finding| Checked {
                check: finding.check,
                subject: finding.subject,
                state: finding.state.into(),
                found: finding.found,
                why: finding.why,
                advice: finding.advice,
                mend: finding
                    .remedy
                    .map(|remedy| Mend::new(global, systemd, &remedy)),
                no_command: finding.no_command.map(NoCommand::reason),
            })
            .collect();
        Self {
            schema: SCHEMA,
            host,
            counts: count(&checks),
            checks,
            ending: Ending::of(&Ok(exit)),
        }
    }
}

fn count(checks: &[Checked]) -> Counts {
    let mut counts = Counts::default();
    for check in checks {
        *match check.state {
            State::Problem => &mut counts.problem,
            State::Warning => &mut counts.warning,
            State::Note => &mut counts.note,
            State::Unknown => &mut counts.unknown,
            State::Ok => &mut counts.ok,
        } += 1;
    }
    counts
}
