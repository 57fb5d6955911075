//! A journal's bytes, understood: its records, and what is damaged.
//!
//! Pure. Never takes a line for torn that is no beginning of a record.

use grey_model::BootId;

use super::entry::Ledger;
use super::loss::{Loss, Losses};
use super::record::{LONGEST_LINE, Line, PREFIX, Record};

/// A file's content, understood.
pub(super) struct Replay {
    pub(super) ledger: Ledger,
    pub(super) lines: Vec<Vec<u8>>,
    losses: Losses,
    /// Where the last line ends; what follows is torn.
    pub(super) good_end: u64,
    /// Whether the last line is damaged and has no end.
    pub(super) lacks_newline: bool,
    /// Whether another version of this program has written to it.
    pub(super) other_version: bool,
}

impl Replay {
    pub(super) fn of(content: &[u8]) -> Self {
        let mut replay = Self {
            ledger: Ledger::default(),
            lines: Vec::new(),
            losses: Losses::default(),
            good_end: 0,
            lacks_newline: false,
            other_version: false,
        };
        let mut number = 0;
        for line in content.split_inclusive(|&byte| byte == b'\n') {
            number += 1;
            let Some(whole) = line.strip_suffix(b"\n") else {
                // A write that was cut short leaves the beginning of a record:
                // that is torn and no news, for nothing was changed yet.
                if !is_torn(line) {
                    replay.losses.damaged(number, line);
                    replay.good_end += line.len() as u64;
                    replay.lacks_newline = true;
                }
                break;
            };
            match Record::from_line(whole) {
                Line::Record(record) => {
                    replay.losses.record(record.id, &record.boot_id);
                    replay.ledger.take(*record);
                    replay.lines.push(whole.to_vec());
                }
                Line::OtherVersion => {
                    replay.losses.other_version(number, whole);
                    replay.other_version = true;
                }
                Line::Damaged => replay.losses.damaged(number, whole),
            }
            replay.good_end += line.len() as u64;
        }
        let trailing = replay.losses.trailing();
        replay.ledger.skip(trailing);
        replay
    }

    /// What is lost and may hold in the boot `now`.
    pub(super) fn losses(&self, now: Option<&BootId>) -> Vec<Loss> {
        self.losses.open_in(now, &self.ledger)
    }
}

/// Whether a last line without its end is the beginning of a record. What was
/// not written any more may be there as zeros.
fn is_torn(tail: &[u8]) -> bool {
    let zeros = tail.iter().rev().take_while(|&&byte| byte == 0).count();
    let written = &tail[..tail.len() - zeros];
    let prefix = PREFIX.as_bytes();
    let common = written.len().min(prefix.len());
    written.len() <= LONGEST_LINE && written[..common] == prefix[..common]
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
                _ => content.extend_from_slice(good.as_bytes()),
            }
        }
        let losses = Replay::of(&content).losses(None);
        losses.into_iter().map(|loss| loss.what).collect()
    }

    #[test]
    fn only_the_first_damaged_lines_are_named() {
        assert_eq!(sentences("g"), Vec::<String>::new());
        assert_eq!(sentences("gxxxxxg").len(), 5);
        let six = sentences("gxxxxxxg");
        assert_eq!(six[4], "line 6 of the journal is damaged");
        assert_eq!(six[5], "1 more line of the journal could not be used");
        assert_eq!(six.len(), 6);
        // Whole lines at the end are no torn write.
        assert_eq!(sentences("gxx").len(), 2);
        assert_eq!(sentences("xxx").len(), 3);
        // Counted over several runs of bad lines.
        let many = sentences(&format!("xxxg{}gxg", "x".repeat(1000)));
        assert_eq!(many[0], "line 1 of the journal is damaged");
        assert_eq!(many[5], "999 more lines of the journal could not be used");
        assert_eq!(many.len(), 6);
    }

    #[test]
    fn damaged_lines_at_the_end_are_kept_and_their_numbers_are_not_used_again() {
        let good = sample(1).to_line().unwrap();
        let replay = Replay::of(format!("{good}x\n").as_bytes());
        assert_eq!(replay.good_end, good.len() as u64 + 2);
        assert_eq!(replay.ledger.last_id(), 2);
    }

    #[test]
    fn an_end_that_is_no_beginning_of_a_record_is_damaged_and_not_torn() {
        for (tail, lost) in [
            ("{\"crc32\":\"12", 0),
            ("{\"cr\0\0", 0),
            ("garbage", 1),
            ("{}", 1),
        ] {
            let replay = Replay::of(tail.as_bytes());
            assert_eq!(replay.losses(None).len(), lost, "{tail}");
            assert_eq!(replay.lacks_newline, lost > 0, "{tail}");
            let kept = if lost > 0 { tail.len() as u64 } else { 0 };
            assert_eq!(replay.good_end, kept, "{tail}");
        }
    }
}
