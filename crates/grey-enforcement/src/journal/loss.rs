//! What of the journal is lost: lines that cannot be read, and changes that
//! later records name and no record describes.
//!
//! Pure. Never calls a change lost that is known to be over, and never keeps
//! more than a few lines of a journal that is nothing but garbage.

use grey_model::{BootId, KernelText};
use serde::Serialize;

use super::entry::Ledger;

/// How many losses are named; of the others only the count is said.
const NAMED: usize = 5;
/// Of how many lines the remains are kept.
const KEPT_REMAINS: usize = 64;
/// How much is shown of a damaged line that names a setting, in characters.
const LONGEST_REMAINS: usize = 400;
/// How much of any other: it says nothing that could be put back.
const LONGEST_GARBAGE: usize = 40;

/// A part of the journal that cannot be used. What it changed, if anything,
/// is not known and cannot be put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The line, counted from 1; `None`: a line is missing, or it is about
    /// several.
    pub line: Option<u64>,
    /// The change that later records prove was there; `None`: not known.
    pub change: Option<u64>,
    /// What is lost, as a sentence without its full stop.
    pub what: String,
    /// What can still be read of the line, made safe for a terminal and cut.
    pub remains: Option<String>,
}

impl Loss {
    /// The loss with what it means, for those who change something.
    pub(crate) fn remark(&self) -> String {
        format!("{}: what that changed is not known", self.what)
    }
}

/// Why lines are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    Damaged,
    OtherVersion,
}

/// Lines without a record between them.
#[derive(Debug)]
struct Run {
    problem: Problem,
    first_line: u64,
    lines: u64,
    remains: Vec<String>,
    /// The number of the first record, where the numbers around tell it.
    first_id: Option<u64>,
    /// The boot of the record that follows. Boots follow one another, so what
    /// stands before a record of an earlier boot is of an earlier boot, too.
    next_boot: Option<BootId>,
}

/// The losses of a journal, as they are found from its first line on.
#[derive(Debug, Default)]
pub(super) struct Losses {
    runs: Vec<Run>,
    /// The last runs, until a record follows.
    open: usize,
    kept: usize,
    last_id: u64,
}

impl Losses {
    /// A line, counted from 1, that is no record.
    pub(super) fn damaged(&mut self, line: u64, bytes: &[u8]) {
        self.add(Problem::Damaged, line, bytes);
    }

    /// A line of another version of this program.
    pub(super) fn other_version(&mut self, line: u64, bytes: &[u8]) {
        self.add(Problem::OtherVersion, line, bytes);
    }

    fn add(&mut self, problem: Problem, line: u64, bytes: &[u8]) {
        let remains = (self.kept < KEPT_REMAINS).then(|| readable(bytes));
        self.kept += usize::from(remains.is_some());
        match self.runs.last_mut() {
            Some(run) if self.open > 0 && run.problem == problem => {
                run.lines += 1;
                run.remains.extend(remains);
            }
            _ => {
                self.open += 1;
                self.runs.push(Run {
                    problem,
                    first_line: line,
                    lines: 1,
                    remains: remains.into_iter().collect(),
                    first_id: None,
                    next_boot: None,
                });
            }
        }
    }

    /// A record that could be read, with its number.
    pub(super) fn record(&mut self, id: u64, boot: &BootId) {
        let first = self.runs.len() - self.open;
        let lines = self.trailing();
        let mut next = self.last_id.saturating_add(1);
        let numbers_tell = next.saturating_add(lines) == id;
        for run in &mut self.runs[first..] {
            run.next_boot = Some(boot.clone());
            run.first_id = numbers_tell.then_some(next);
            next = next.saturating_add(run.lines);
        }
        self.open = 0;
        self.last_id = id;
    }

    /// How many lines no record has followed so far.
    pub(super) fn trailing(&self) -> u64 {
        let first = self.runs.len() - self.open;
        self.runs[first..].iter().map(|run| run.lines).sum()
    }

    /// What may still hold in the boot `now`: without it, everything.
    pub(super) fn open_in(&self, now: Option<&BootId>, ledger: &Ledger) -> Vec<Loss> {
        let mut found = Found::default();
        let mut missing = ledger.missing(now);
        let earlier = |run: &&Run| match (&run.next_boot, now) {
            (Some(next), Some(now)) => next != now,
            _ => false,
        };
        for run in self.runs.iter().filter(|run| !earlier(run)) {
            let Some(first_id) = run.first_id else {
                run.name(|_| None, &mut found);
                continue;
            };
            for index in 0..run.lines {
                let id = first_id.saturating_add(index);
                if ledger.is_over(id) {
                    continue;
                }
                let known = missing.iter().position(|missing| *missing == id);
                let change = known.map(|at| missing.remove(at));
                run.name_one(index, change, &mut found);
            }
        }
        for change in missing {
            found.add(|| Loss {
                line: None,
                change: Some(change),
                what: format!(
                    "the journal says that change {change} was made, and what it changed is missing"
                ),
                remains: None,
            });
        }
        found.finish()
    }
}

impl Run {
    fn name(&self, change: impl Fn(u64) -> Option<u64>, found: &mut Found) {
        let room = u64::try_from(NAMED).unwrap_or(0);
        for index in 0..self.lines.min(room) {
            self.name_one(index, change(index), found);
        }
        found.more += self.lines.saturating_sub(room);
    }

    fn name_one(&self, index: u64, change: Option<u64>, found: &mut Found) {
        let line = self.first_line.saturating_add(index);
        found.add(|| {
            let of = change.map_or_else(String::new, |change| format!(" (change {change})"));
            let problem = match self.problem {
                Problem::Damaged => "is damaged",
                Problem::OtherVersion => "is of another version of this program",
            };
            let remains = usize::try_from(index)
                .ok()
                .and_then(|index| self.remains.get(index));
            Loss {
                line: Some(line),
                change,
                what: format!("line {line} of the journal{of} {problem}"),
                remains: remains.cloned(),
            }
        });
    }
}

/// The first losses, and how many more there are.
#[derive(Default)]
struct Found {
    named: Vec<Loss>,
    more: u64,
}

impl Found {
    fn add(&mut self, loss: impl FnOnce() -> Loss) {
        if self.named.len() < NAMED {
            self.named.push(loss());
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<Loss> {
        let what = match self.more {
            0 => return self.named,
            1 => "1 more line of the journal could not be used".to_owned(),
            more => format!("{more} more lines of the journal could not be used"),
        };
        self.named.push(Loss {
            line: None,
            change: None,
            what,
            remains: None,
        });
        self.named
    }
}

/// The part of a damaged line that may say what was changed.
fn readable(line: &[u8]) -> String {
    const SETTING: &[u8] = b"\"knob\":";
    let found = line
        .windows(SETTING.len())
        .position(|window| window == SETTING);
    let (start, most) = match found {
        Some(start) => (start, LONGEST_REMAINS),
        None => (0, LONGEST_GARBAGE),
    };
    let rest = &line[start..];
    // Made safe, a byte may be four characters.
    let safe = KernelText::from(&rest[..rest.len().min(most)]).to_string();
    let mut text: String = safe.chars().take(most).collect();
    if rest.len() > most || text.len() < safe.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::sample;
    use super::super::record::{Body, Ending, Record};
    use super::super::replay::Replay;
    use super::*;
    use crate::knob::Saved;

    fn with(id: u64, body: Body) -> Record {
        Record { body, ..sample(id) }
    }

    fn applied(id: u64, change: u64) -> Record {
        let saved = Saved::default();
        let found = None;
        with(
            id,
            Body::Applied {
                change,
                found,
                saved,
            },
        )
    }

    /// The losses of a journal of these records; `None` is a damaged line.
    fn losses(records: &[Option<Record>], now: Option<&str>) -> Vec<Loss> {
        let mut content = String::new();
        for record in records {
            match record {
                Some(record) => content.push_str(&record.to_line().unwrap()),
                None => content.push_str("{\"crc32\":\"0\",\"knob\":\"a \x1b[2J b\"}\n"),
            }
        }
        let replay = Replay::of(content.as_bytes());
        replay.losses(now.map(|now| BootId(now.to_owned())).as_ref())
    }

    #[test]
    fn a_damaged_change_is_named_with_its_number_and_its_remains() {
        let lost = losses(&[Some(sample(1)), None, Some(applied(3, 2))], Some("b"));
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert_eq!((lost[0].line, lost[0].change), (Some(2), Some(2)));
        let remains = lost[0].remains.as_ref().unwrap();
        assert!(remains.starts_with("\"knob\":"), "{remains}");
        assert!(!remains.contains('\x1b'), "{remains}");
    }

    #[test]
    fn a_change_whose_line_is_missing_is_lost() {
        let lost = losses(&[Some(sample(1)), Some(applied(3, 2))], Some("b"));
        assert_eq!((lost[0].line, lost[0].change), (None, Some(2)));
        assert_eq!(lost.len(), 1, "{lost:?}");
    }

    #[test]
    fn a_lost_change_that_is_over_is_no_loss() {
        let ending = Ending::Restored { overrode: None };
        let end = with(4, Body::Undone { change: 2, ending });
        let records = [Some(sample(1)), None, Some(applied(3, 2)), Some(end)];
        assert_eq!(losses(&records, Some("b")), Vec::new());
    }

    #[test]
    fn what_stands_before_a_record_of_an_earlier_boot_is_no_loss() {
        let records = [Some(sample(1)), None, Some(applied(3, 2))];
        assert_eq!(losses(&records, Some("c")), Vec::new());
        // The last line may be of this boot.
        assert_eq!(losses(&[Some(sample(1)), None], Some("c")).len(), 1);
    }

    #[test]
    fn changes_that_compaction_dropped_are_no_loss() {
        let note = with(9, Body::Compacted { dropped: 6 });
        let records = [Some(applied(7, 3)), Some(sample(8)), Some(note)];
        assert_eq!(losses(&records, Some("b")), Vec::new());
        assert_eq!(losses(&records[..2], Some("b")).len(), 1);
    }
}
