//! Rules about what we keep: the state directory, the journal, history.

use std::time::Duration;

use grey_model::{Bytes, DoctorFacts, HistoryFacts, Reading, StateFacts};

use super::finding::{Check, Finding, NoCommand, Remedy, known};

/// A sample that is at most this many seconds old is of the present, and a clock
/// may be off by so much. This project's choice: a recorder takes one each second
/// unless told otherwise.
const PRESENT: i64 = 60;

/// A plan of a few steps and its journal need far less; this project's advice.
const LEAST_ROOM: Bytes = Bytes::from_mib(16);

/// What `record` keeps at most unless told otherwise.
const HISTORY_ROOM: Bytes = Bytes::from_mib(512);

/// The directory must be ours alone: whoever can write there could have root put
/// back what they like.
pub(super) fn directory(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("state_directory", "state directory");
    const WHY: &str = "the journal of changes and history are kept there, and nobody else may be \
                       able to write to them";
    let path = &facts.state.path;
    let directory = match &facts.state.directory {
        Reading::Absent => {
            let found = format!("{path} is made with the first change or recording");
            return CHECK.ok(found, WHY);
        }
        reading => known!(CHECK, reading, WHY),
    };
    if !directory.is_directory {
        return CHECK
            .problem(format!("{path} is no directory"), WHY)
            .by_hand(
                NoCommand::Choice,
                "move it away, or name another with --state-dir",
            );
    }
    let is_open = directory.mode & OTHERS_WRITE != 0;
    if directory.owner != directory.us {
        let mut found = format!(
            "{path} is of user {}, we are {}",
            directory.owner, directory.us
        );
        if is_open {
            found.push_str(&format!(
                "; others may write to it (mode {:o})",
                directory.mode & 0o7777
            ));
        }
        // Root refuses to follow what somebody else could have written.
        let finding = match (directory.us, is_open) {
            (0, _) => CHECK.problem(found, WHY),
            (_, true) => CHECK.warning(found, WHY),
            (_, false) => CHECK.note(found, WHY),
        };
        return finding.by_hand(
            NoCommand::Choice,
            "run as its owner, or name another with --state-dir",
        );
    }
    let mode = format!("{path}, mode {:o}", directory.mode & 0o7777);
    if is_open {
        return CHECK.problem(mode, WHY).mend(close(path, directory.mode));
    }
    CHECK.ok(mode, WHY)
}

/// The group and everybody else may write.
const OTHERS_WRITE: u32 = 0o022;

fn close(path: &str, mode: u32) -> Remedy {
    let path = grey_model::shell_word(path.as_bytes());
    Remedy::Shell {
        command: format!("chmod go-w -- {path}"),
        undo: Some(format!("chmod {:o} -- {path}", mode & 0o7777)),
    }
}

/// A journal with a part lost is never an all-clear.
pub(super) fn journal(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("journal", "journal");
    const WHY: &str = "nothing is changed before its record is on disk, and nothing is put back \
                       that no record tells of";
    const LOST: &str = "what a lost record changed may still hold, and cannot be put back by it";
    let journal = match &facts.state.journal {
        Reading::Absent => return CHECK.ok("none yet: nothing was changed", WHY),
        reading => known!(CHECK, reading, WHY),
    };
    if let Some(first) = journal.lost.first() {
        let more = journal.lost.len() - 1;
        let found = match more {
            0 => first.clone(),
            _ => format!("{first}; {more} more"),
        };
        return CHECK.problem(found, LOST).mend(Remedy::Ours("journal"));
    }
    if let Some(refused) = &journal.refused {
        return CHECK.problem(refused.clone(), WHY).by_hand(
            NoCommand::Elsewhere,
            "see `state directory`, or name another with --state-dir",
        );
    }
    CHECK.ok("nothing of it is lost", WHY)
}

/// A lease is undone by its keeper; where that was killed for good, by the next
/// run that changes something.
pub(super) fn changes(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("changes", "changes of ours");
    const WHY: &str = "what memory-enforce set holds until it is rolled back, its lease ends or the \
                       machine restarts";
    const OVERDUE: &str = "whoever was to put it back when its lease ended did not";
    const CONFLICT: &str = "somebody else has set another value since, so it is not put back until \
                            you decide";
    let journal = match &facts.state.journal {
        Reading::Absent => return CHECK.ok("none", WHY),
        reading => known!(CHECK, reading, WHY),
    };
    let counted = |count: u64| match count {
        1 => "1 change".to_owned(),
        _ => format!("{count} changes"),
    };
    if journal.overdue > 0 {
        let whose = if journal.overdue == 1 { "its" } else { "their" };
        let found = format!("{} past {whose} lease", counted(journal.overdue));
        return CHECK.problem(found, OVERDUE).mend(Remedy::Ours("rollback"));
    }
    if journal.conflicts > 0 {
        let found = format!("{} in conflict", counted(journal.conflicts));
        return CHECK.warning(found, CONFLICT).mend(Remedy::Ours("journal"));
    }
    if journal.holding > 0 {
        let found = format!("{} in place", counted(journal.holding));
        return CHECK.note(found, WHY).mend(Remedy::Ours("journal"));
    }
    CHECK.ok("none", WHY)
}

/// The room for records and samples.
pub(super) fn disk(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("state_room", "room for state");
    const WHY: &str = "without room for its record no change is made, and no sample is kept";
    let disk = known!(CHECK, facts.state.disk, WHY);
    let found = format!("{} free at {}", disk.available, facts.state.path);
    if disk.available_files == Some(0) {
        return CHECK
            .problem(format!("{found}, and no file can be made"), WHY)
            .by_hand(
                NoCommand::Choice,
                "delete files there, or name a directory elsewhere with --state-dir",
            );
    }
    if disk.available < LEAST_ROOM {
        return CHECK.problem(found, WHY).by_hand(
            NoCommand::Choice,
            "make room there, or name a directory elsewhere with --state-dir",
        );
    }
    let kept = facts
        .state
        .history
        .known()
        .map_or(Bytes::ZERO, |history| history.size);
    if is_recorded(&facts.state) && disk.available < HISTORY_ROOM.saturating_sub(kept) {
        return CHECK.warning(found, WHY).by_hand(
            NoCommand::Choice,
            "history may grow to 512 MiB: record with a smaller --max-size, or make room",
        );
    }
    CHECK.ok(found, WHY)
}

fn is_recorded(state: &StateFacts) -> bool {
    state
        .history
        .known()
        .is_some_and(|history| history.samples.is_some_and(|samples| samples > 0))
}

/// What is damaged is lost; the rest is read.
pub(super) fn history(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("history", "history");
    const WHY: &str = "what grew before a kill or a freeze can only be told from what was recorded";
    let history = match &facts.state.history {
        Reading::Absent => {
            return CHECK
                .note("none is recorded", WHY)
                .mend(Remedy::Ours("record"));
        }
        reading => known!(CHECK, reading, WHY),
    };
    if let Some((path, mode)) = &history.open_to_others {
        let found = format!("others may write to {path} (mode {:o})", mode & 0o7777);
        return CHECK
            .problem(
                found,
                "nothing is recorded where others could put their own samples",
            )
            .mend(close(path, *mode));
    }
    let size = amount(history);
    if let Some(first) = history.unreadable.first() {
        let more = and_more(&history.unreadable);
        let damaged = history.lost.first().map_or_else(String::new, |first| {
            format!("; damaged: {first}{}", and_more(&history.lost))
        });
        return CHECK
            .warning(
                format!("{size}; cannot be read: {first}{more}{damaged}"),
                WHY,
            )
            .by_hand(
                NoCommand::Cause,
                "what is in it is not counted, and may be whole: look at the file, its permissions \
                 and the disk that it is on",
            );
    }
    if let Some(first) = history.lost.first() {
        let more = and_more(&history.lost);
        return CHECK
            .warning(format!("{size}; damaged: {first}{more}"), WHY)
            .by_hand(
                NoCommand::Cause,
                "what is damaged is lost, the rest is read; look at the disk that it is on",
            );
    }
    if let Some(first) = history.newer.first() {
        let more = match history.newer.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        return CHECK
            .note(
                format!("{size}; {first}{more} of a newer version: not read, and left as it is"),
                WHY,
            )
            .by_hand(
                NoCommand::Choice,
                "use the newer version of greyctl, or another --state-dir",
            );
    }
    if let Some(first) = history.repeated.first() {
        let more = and_more(&history.repeated);
        return CHECK
            .note(format!("{size}; in its files twice: {first}{more}"), WHY)
            .by_hand(
                NoCommand::Cause,
                "nothing is missing, and each sample is given once: a copy of a file may be deleted",
            );
    }
    let age = match history.last_age_seconds {
        Some(age) if age >= 0 => format!("; the last {} ago", span(age)),
        Some(_) => "; the last just now".to_owned(),
        None => String::new(),
    };
    match (history.is_being_recorded, history.last_age_seconds) {
        (_, Some(age)) if age < -PRESENT => CHECK
            .warning(
                format!(
                    "{size}; the last {} in the future",
                    span(age.saturating_neg())
                ),
                WHY,
            )
            .by_hand(NoCommand::Cause, "the clock was set back since: look at it"),
        (Some(true), Some(last)) if last > PRESENT => CHECK
            .note(format!("{size}{age}, though a recorder is there"), WHY)
            .by_hand(
                NoCommand::Cause,
                "it takes samples seldom (--interval), was stopped, or finds no room: look at it",
            ),
        (Some(true), _) => CHECK.ok(format!("{size}; being recorded"), WHY),
        (None, Some(last)) if last <= PRESENT => CHECK.ok(format!("{size}{age}"), WHY),
        _ => CHECK
            .note(format!("{size}{age}: nothing records now"), WHY)
            .mend(Remedy::Ours("record")),
    }
}

/// How much there is. The files' size is that of the samples only where all of
/// them could be read.
fn amount(history: &HistoryFacts) -> String {
    let size = history.size;
    let is_whole = [&history.unreadable, &history.lost, &history.newer]
        .iter()
        .all(|parts| parts.is_empty());
    let amount = match history.samples {
        None => format!("its files take {size}"),
        Some(samples) if is_whole => format!("{samples} samples in {size}"),
        Some(samples) => format!("{samples} samples can be read, and its files take {size}"),
    };
    match history.looked_at_all {
        false if history.samples.is_some() => {
            format!("{amount}, of which not all was looked at for damage")
        }
        _ => amount,
    }
}

fn and_more(parts: &[String]) -> String {
    match parts.len().saturating_sub(1) {
        0 => String::new(),
        more => format!("; {more} more"),
    }
}

fn span(seconds: i64) -> String {
    grey_model::roughly(Duration::from_secs(seconds.unsigned_abs()))
}
