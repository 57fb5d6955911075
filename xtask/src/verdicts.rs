//! Reads the lines that a guest sends (`kernel-tests/src/verdict.rs` writes
//! them) and knows what is missing.
//!
//! Never believes a guest that stops before its last line.

use serde::Deserialize;

/// What every line begins with.
const MARKER: &str = "grey-verdict ";

/// One line from a guest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "record", rename_all = "lowercase")]
pub(crate) enum Record {
    /// It is up.
    Begin { kernel: String, cases: usize },
    /// A case begins.
    Started { case: String },
    /// A case has ended.
    Verdict(Verdict),
    /// All cases have ended.
    End,
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) case: String,
    pub(crate) outcome: Outcome,
    /// Why it failed or was skipped.
    #[serde(default)]
    pub(crate) detail: String,
    pub(crate) seconds: f64,
    #[serde(default)]
    pub(crate) log: String,
}

/// What a case found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// The record in a line; `None` for stray text.
pub(crate) fn parse(line: &str) -> Option<Record> {
    let (_, json) = line.split_once(MARKER)?;
    serde_json::from_str(json.trim_end()).ok()
}

/// What has come from a guest so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Received {
    /// Has it said that it is up?
    pub(crate) has_begun: bool,
    /// Has it said that it is done?
    pub(crate) has_ended: bool,
    /// The case that runs.
    pub(crate) running: Option<String>,
    /// What has ended.
    pub(crate) verdicts: Vec<Verdict>,
}

impl Received {
    /// Takes one record.
    pub(crate) fn take(&mut self, record: Record) {
        match record {
            Record::Begin { .. } => self.has_begun = true,
            Record::Started { case } => self.running = Some(case),
            Record::Verdict(verdict) => {
                self.running = None;
                self.verdicts.push(verdict);
            }
            Record::End => self.has_ended = true,
        }
    }

    /// The expected cases that have no verdict.
    pub(crate) fn missing<'a>(&self, expected: &'a [String]) -> Vec<&'a str> {
        expected
            .iter()
            .map(String::as_str)
            .filter(|name| !self.verdicts.iter().any(|verdict| verdict.case == *name))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_found_behind_stray_text() {
        let line = "[ 1.0] noise grey-verdict {\"record\":\"verdict\",\"case\":\"a\",\"outcome\":\"failed\",\"detail\":\"why\",\"seconds\":1.5,\"log\":\"x\"}\r";
        let Some(Record::Verdict(verdict)) = parse(line) else {
            panic!("no verdict in {line}");
        };
        assert_eq!(
            (
                verdict.case.as_str(),
                verdict.outcome,
                verdict.detail.as_str()
            ),
            ("a", Outcome::Failed, "why")
        );
        assert_eq!(
            parse("grey-verdict {\"record\":\"end\"}"),
            Some(Record::End)
        );
        assert_eq!(parse("noise"), None);
    }

    #[test]
    fn a_case_without_a_verdict_is_missed() {
        let mut received = Received::default();
        for line in [
            "grey-verdict {\"record\":\"begin\",\"guest\":\"6.1\",\"kernel\":\"x\",\"cases\":2}",
            "grey-verdict {\"record\":\"started\",\"case\":\"a\"}",
            "grey-verdict {\"record\":\"verdict\",\"case\":\"a\",\"outcome\":\"passed\",\"seconds\":1}",
            "grey-verdict {\"record\":\"started\",\"case\":\"b\"}",
        ] {
            received.take(parse(line).unwrap());
        }
        assert!(received.has_begun && !received.has_ended);
        assert_eq!(received.running.as_deref(), Some("b"));
        assert_eq!(received.missing(&["a".to_owned(), "b".to_owned()]), ["b"]);
    }
}
