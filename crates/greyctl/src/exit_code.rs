//! The exit codes: one frozen table that scripts may rely on.
//!
//! Never give a number another meaning, and never use one that is not here.

use std::process::ExitCode;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything that was asked for was done.
    Success,
    /// It was tried and failed.
    Failed,
    /// The command line makes no sense, or names nothing that exists.
    Usage,
    /// A threshold or a budget is crossed.
    ThresholdCrossed,
    /// A part was done, or everything and nothing came of it.
    PartlyDone,
    /// The daemon does not answer.
    DaemonUnreachable,
    /// The permission is missing.
    NotPermitted,
    /// It would do harm, or belongs to somebody else.
    RefusedBySafety,
    /// It ran into its deadline.
    TimedOut,
    /// This kernel or machine cannot do it.
    NotSupported,
}

/// Every exit code with its meaning, as the help prints it.
pub(crate) const TABLE: &[(Exit, &str)] = &[
    (Exit::Success, "done"),
    (Exit::Failed, "failed"),
    (Exit::Usage, "wrong usage, or no such target"),
    (Exit::ThresholdCrossed, "a threshold or a budget is crossed"),
    (Exit::PartlyDone, "partly done, or done without effect"),
    (Exit::DaemonUnreachable, "the daemon does not answer"),
    (Exit::NotPermitted, "not permitted"),
    (
        Exit::RefusedBySafety,
        "refused: it would do harm, or has another owner",
    ),
    (Exit::TimedOut, "timed out"),
    (Exit::NotSupported, "this kernel or machine cannot do it"),
];

impl Exit {
    /// The number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::ThresholdCrossed => 3,
            Self::PartlyDone => 4,
            Self::DaemonUnreachable => 5,
            Self::NotPermitted => 6,
            Self::RefusedBySafety => 7,
            Self::TimedOut => 8,
            Self::NotSupported => 9,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table for the end of the help.
pub(crate) fn help_text() -> String {
    let mut text = String::from("Exit codes:");
    for (exit, meaning) in TABLE {
        text.push_str(&format!("\n  {}  {meaning}", exit.code()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_every_code_once_and_in_order() {
        let codes: Vec<u8> = TABLE.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn the_readme_has_the_same_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        let rows: Vec<&str> = readme
            .lines()
            .skip_while(|line| !line.starts_with("| Exit code |"))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .collect();
        let expected: Vec<String> = TABLE
            .iter()
            .map(|(exit, meaning)| format!("| {} | {meaning} |", exit.code()))
            .collect();
        assert_eq!(rows, expected);
    }
}
