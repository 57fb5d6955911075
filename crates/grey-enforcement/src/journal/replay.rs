//! A journal's bytes, understood: its records, and what is damaged.
//!
//! Pure. Never keeps a sentence for each of many damaged lines.

use super::entry::Ledger;
use super::record::{Line, Record};

/// How many damaged lines are named; of the others only the count is said.
const NAMED: usize = 5;

/// A file's content, understood.
pub(super) struct Replay {
    pub(super) ledger: Ledger,
    pub(super) lines: Vec<Vec<u8>>,
    pub(super) damage: Damage,
    /// Where the last good line ends; what follows is torn.
    pub(super) good_end: u64,
    /// Whether another version of this program has written to it.
    pub(super) other_version: bool,
}

impl Replay {
    pub(super) fn of(content: &[u8]) -> Self {
        let mut replay = Self {
            ledger: Ledger::default(),
            lines: Vec::new(),
            damage: Damage::default(),
            good_end: 0,
            other_version: false,
        };
        // A write that was cut short leaves a last line without its end: that
        // one is torn and no news. Every other bad line is.
        let mut pending = Damage::default();
        let mut offset = 0u64;
        for (index, line) in content.split_inclusive(|&byte| byte == b'\n').enumerate() {
            offset += line.len() as u64;
            let whole = line.strip_suffix(b"\n");
            match whole.map_or(Line::Damaged, Record::from_line) {
                Line::Record(record) => {
                    replay.damage.append(&mut pending);
                    replay.ledger.take(*record);
                    replay.lines.push(line[..line.len() - 1].to_vec());
                }
                Line::OtherVersion => {
                    replay.damage.append(&mut pending);
                    replay
                        .damage
                        .add(index + 1, "is of another version of this program");
                    replay.other_version = true;
                }
                Line::Damaged => {
                    if whole.is_some() {
                        pending.add(index + 1, "is damaged and was passed over");
                    }
                    continue;
                }
            }
            replay.good_end = offset;
        }
        replay.damage.append(&mut pending);
        replay
    }
}

/// What is wrong with a journal: the first lines, and how many more there are.
#[derive(Debug, Default)]
pub(super) struct Damage {
    named: Vec<String>,
    more: usize,
}

impl Damage {
    fn add(&mut self, line: usize, problem: &str) {
        if self.named.len() < NAMED {
            self.named
                .push(format!("line {line} of the journal {problem}"));
        } else {
            self.more += 1;
        }
    }

    fn append(&mut self, other: &mut Self) {
        let room = NAMED.saturating_sub(self.named.len());
        self.more += other.named.len().saturating_sub(room) + other.more;
        self.named.extend(other.named.drain(..).take(room));
        other.more = 0;
    }

    /// One sentence each.
    pub(super) fn sentences(self) -> Vec<String> {
        let mut sentences = self.named;
        match self.more {
            0 => {}
            1 => sentences.push("1 more line of the journal could not be used".to_owned()),
            more => sentences.push(format!(
                "{more} more lines of the journal could not be used"
            )),
        }
        sentences
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::sample;
    use super::*;

    /// A journal of good lines and of `x`, which is none.
    fn sentences(pattern: &str) -> Vec<String> {
        let good = sample(1).to_line().unwrap();
        let mut content = Vec::new();
        for letter in pattern.chars() {
            match letter {
                'x' => content.extend_from_slice(b"x\n"),
                _ => {
                    content.extend_from_slice(good.trim_end().as_bytes());
                    content.push(b'\n');
                }
            }
        }
        Replay::of(&content).damage.sentences()
    }

    #[test]
    fn only_the_first_damaged_lines_are_named() {
        assert_eq!(sentences("g"), Vec::<String>::new());
        assert_eq!(sentences("gxxxxxg").len(), 5);
        let six = sentences("gxxxxxxg");
        assert_eq!(
            six[4],
            "line 6 of the journal is damaged and was passed over"
        );
        assert_eq!(six[5], "1 more line of the journal could not be used");
        assert_eq!(six.len(), 6);
        // Whole lines at the end are no torn write.
        assert_eq!(sentences("gxx").len(), 2);
        assert_eq!(sentences("xxx").len(), 3);
        // Counted over several runs of bad lines.
        let many = sentences(&format!("xxxg{}gxg", "x".repeat(1000)));
        assert_eq!(
            many[0],
            "line 1 of the journal is damaged and was passed over"
        );
        assert_eq!(many[5], "999 more lines of the journal could not be used");
        assert_eq!(many.len(), 6);
    }
}
