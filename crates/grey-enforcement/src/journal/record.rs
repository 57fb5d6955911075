//! One line of the journal: its fields, its checksum, its text.
//!
//! Never panics on any line, and never guesses: a line is a record whose
//! checksum matches, or it is damaged.

use grey_model::{BootId, Knob, KnobValue};
use serde::{Deserialize, Serialize};

use crate::knob::Saved;

/// The version of the record's fields.
pub(crate) const SCHEMA: u32 = 1;
/// The longest line that is written or read, in bytes.
pub(crate) const LONGEST_LINE: usize = 128 * 1024;

/// How every line begins.
pub(crate) const PREFIX: &str = "{\"crc32\":\"";
const MIDDLE: &str = "\",\"record\":";
const DIGITS: usize = 8;

/// Who made a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The user's name, or the number when it has none.
    pub user: String,
    /// The program as it was called.
    pub program: String,
    /// Its pid.
    pub pid: u32,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// [`SCHEMA`].
    pub(crate) schema: u32,
    /// Grows by one from record to record.
    pub(crate) id: u64,
    /// Milliseconds since 1970.
    pub(crate) time_unix_ms: u64,
    /// The boot that it belongs to.
    pub(crate) boot_id: BootId,
    /// Who.
    pub(crate) actor: Actor,
    /// What is recorded.
    #[serde(flatten)]
    pub(crate) body: Body,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(crate) enum Body {
    /// A plan begins. Written first: it proves that the journal can be.
    Plan {
        /// The plan.
        plan_id: String,
        /// How many settings it will change.
        settings: u64,
    },
    /// A setting is about to be changed.
    Change {
        /// The plan.
        plan_id: String,
        /// Which setting; with the identity of its process or cgroup.
        knob: Knob,
        /// What was there.
        before: Option<KnobValue>,
        /// What is to be there.
        after: Option<KnobValue>,
        /// What else undoing needs.
        saved: Saved,
        /// Why.
        reason: String,
        /// When it is to be undone: seconds of CLOCK_BOOTTIME.
        lease_until_boottime_seconds: Option<u64>,
    },
    /// The change was made, and this was read back.
    Applied {
        /// The record of the change.
        change: u64,
        /// What was read back: the kernel rounds.
        found: Option<KnobValue>,
        /// What else undoing needs and is known only now.
        saved: Saved,
    },
    /// A change is over, or undoing it was tried.
    Undone {
        /// The record of the change.
        change: u64,
        /// How.
        #[serde(flatten)]
        ending: Ending,
    },
    /// Older records were dropped; numbers go on from here.
    Compacted {
        /// How many lines were dropped.
        dropped: u64,
    },
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub(crate) enum Ending {
    /// The earlier value was written back, or was there already.
    Restored {
        /// Somebody else's value that was overridden by force.
        overrode: Option<KnobValue>,
    },
    /// The process or cgroup is gone.
    Gone,
    /// The kernel forgot it: another boot.
    Void,
    /// A later change of the same setting stands on top of it; undoing that
    /// one will restore the value from before this one.
    Merged {
        /// The later change.
        into: u64,
    },
    /// Given up: what was found is to stay.
    Kept {
        /// What was there; `None`: nothing, or it could not be read.
        found: Option<KnobValue>,
    },
    /// Somebody else's value is there. The change is not over.
    Conflict {
        /// Which value.
        found: Option<KnobValue>,
    },
}

impl Record {
    /// The line, with its newline.
    pub(crate) fn to_line(&self) -> Result<String, serde_json::Error> {
        let text = serde_json::to_string(self)?;
        let checksum = crc32fast::hash(text.as_bytes());
        Ok(format!("{PREFIX}{checksum:08x}{MIDDLE}{text}}}\n"))
    }

    /// Reads a line without its newline.
    pub(crate) fn from_line(line: &[u8]) -> Line {
        let Some(text) = checked_text(line) else {
            return Line::Damaged;
        };
        match serde_json::from_slice::<Self>(text) {
            Ok(record) if record.schema == SCHEMA => Line::Record(Box::new(record)),
            // Its checksum is right, so somebody has written it on purpose.
            _ => Line::OtherVersion,
        }
    }
}

/// What a line of the journal is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Line {
    /// A record of this version.
    Record(Box<Record>),
    /// Whole, and not of this version.
    OtherVersion,
    /// Not what was written.
    Damaged,
}

/// The record's text, when the checksum matches.
fn checked_text(line: &[u8]) -> Option<&[u8]> {
    if line.len() > LONGEST_LINE {
        return None;
    }
    let rest = line.strip_prefix(PREFIX.as_bytes())?;
    let (digits, rest) = rest.split_at_checked(DIGITS)?;
    let text = rest.strip_prefix(MIDDLE.as_bytes())?.strip_suffix(b"}")?;
    let checksum = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())?;
    (crc32fast::hash(text) == checksum).then_some(text)
}

#[cfg(test)]
pub(crate) mod tests {
    use grey_model::KsmFile;
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn sample(id: u64) -> Record {
        Record {
            schema: SCHEMA,
            id,
            time_unix_ms: 1_700_000_000_000,
            boot_id: BootId("b".to_owned()),
            actor: Actor {
                user: "root".to_owned(),
                program: "greyctl".to_owned(),
                pid: 1,
            },
            body: Body::Change {
                plan_id: "p".to_owned(),
                knob: Knob::Ksm { file: KsmFile::Run },
                before: Some(KnobValue("0".to_owned())),
                after: Some(KnobValue("1".to_owned())),
                saved: Saved::default(),
                reason: "newline \n and \"quotes\"".to_owned(),
                lease_until_boottime_seconds: Some(17),
            },
        }
    }

    fn read(line: &str) -> Option<Record> {
        match Record::from_line(line.strip_suffix('\n')?.as_bytes()) {
            Line::Record(record) => Some(*record),
            _ => None,
        }
    }

    #[test]
    fn a_line_reads_back_and_is_valid_json() {
        let record = sample(7);
        let line = record.to_line().unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(read(&line), Some(record));
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }

    #[test]
    fn every_ending_reads_back() {
        for ending in [
            Ending::Restored { overrode: None },
            Ending::Restored {
                overrode: Some(KnobValue("9".to_owned())),
            },
            Ending::Gone,
            Ending::Void,
            Ending::Merged { into: 4 },
            Ending::Conflict { found: None },
        ] {
            let record = Record {
                body: Body::Undone { change: 3, ending },
                ..sample(9)
            };
            let line = record.to_line().unwrap();
            assert_eq!(read(&line), Some(record));
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_is_noticed() {
        let line = sample(7).to_line().unwrap();
        let line = line.trim_end().as_bytes();
        for index in 0..line.len() {
            // The case of a hexadecimal digit carries nothing.
            for bit in [0, 1, 4, 7] {
                let mut damaged = line.to_vec();
                damaged[index] ^= 1 << bit;
                let line = Record::from_line(&damaged);
                assert_eq!(line, Line::Damaged, "byte {index} bit {bit}");
            }
        }
    }

    #[test]
    fn another_schema_is_not_read_as_this_one() {
        let record = Record {
            schema: SCHEMA + 1,
            ..sample(1)
        };
        let line = record.to_line().unwrap();
        let line = Record::from_line(line.trim_end().as_bytes());
        assert_eq!(line, Line::OtherVersion);
    }

    #[test]
    fn a_huge_line_is_refused_before_it_is_parsed() {
        let line = vec![b'['; LONGEST_LINE + 1];
        assert_eq!(Record::from_line(&line), Line::Damaged);
        let nested = vec![b'['; LONGEST_LINE];
        let text = String::from_utf8(nested).unwrap();
        let wrapped = format!(
            "{PREFIX}{:08x}{MIDDLE}{text}}}",
            crc32fast::hash(text.as_bytes())
        );
        assert_eq!(Record::from_line(wrapped.as_bytes()), Line::Damaged);
    }

    proptest! {
        #[test]
        fn no_line_panics(line: Vec<u8>) {
            let _ = Record::from_line(&line);
        }

        #[test]
        fn no_text_with_a_right_checksum_panics(text in ".{0,200}") {
            let line = format!("{PREFIX}{:08x}{MIDDLE}{text}}}", crc32fast::hash(text.as_bytes()));
            let _ = Record::from_line(line.as_bytes());
        }

        #[test]
        fn values_survive(before in ".{0,80}", after in proptest::option::of(".{0,80}"), reason in ".{0,80}") {
            let mut record = sample(1);
            record.body = Body::Change {
                plan_id: "p".to_owned(),
                knob: Knob::Ksm { file: KsmFile::Run },
                before: Some(KnobValue(before)),
                after: after.map(KnobValue),
                saved: Saved::default(),
                reason,
                lease_until_boottime_seconds: None,
            };
            let line = record.to_line().unwrap();
            prop_assert_eq!(read(&line), Some(record));
        }
    }
}
