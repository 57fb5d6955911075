//! What grew before a kill, as people read it.
//!
//! Never tells of a longer time than was recorded, and never lets those who only
//! started in it hide who grew all the time.

use std::time::Duration;

use grey_model::{Growth, Kill, LastMinute, roughly};

use super::grown::BEFORE;

/// The most processes that are shown to have grown.
const MOST_GROWN: usize = 3;

/// What is recorded of a time is all of it when it is this much: samples lie
/// seconds apart.
const NEARLY_ALL: f64 = 0.9;

/// What had grown in the minutes before a kill, each a sentence.
pub(super) fn before(kill: &Kill) -> Vec<String> {
    const WHOLE: &str = "the 5 minutes before";
    let all = Duration::from_millis(BEFORE).as_secs_f64();
    let grew = kill.grew.as_deref().unwrap_or_default();
    sentences(grew, WHOLE, &recorded(kill.grew_covers_seconds, all, WHOLE))
}

/// What the last minute was like, each a sentence.
pub(super) fn last_minute(minute: &LastMinute) -> Vec<String> {
    let covers = minute.covers_seconds;
    let mut parts = Vec::new();
    if let (Some(before), Some(least)) =
        (minute.available_before_bytes, minute.least_available_bytes)
    {
        parts.push(format!("available memory went from {before} to {least}"));
    }
    if let (Some(before), Some(then)) = (minute.swap_before_bytes, minute.swap_bytes)
        && before != then
    {
        parts.push(format!("swap from {before} to {then}"));
    }
    if let Some(stalled) = minute.stalled_seconds {
        parts.push(format!("tasks waited {stalled:.1} s for memory"));
    }
    let mut lines = Vec::new();
    if !parts.is_empty() {
        let (what, dump) = (parts.join(", "), &minute.dump);
        lines.push(format!("in the last {covers:.0} s, {what} ({dump})"));
    }
    let grew = minute.grew.as_deref().unwrap_or_default();
    let whole = format!("the last {covers:.0} s");
    let recorded = recorded(minute.grew_covers_seconds, covers, &whole);
    lines.extend(sentences(grew, &whole, &recorded));
    lines
}

/// The time that is told of: the whole, or what was recorded of it.
fn recorded(covers: Option<f64>, all: f64, whole: &str) -> String {
    let covers = covers.filter(|covers| *covers < all * NEARLY_ALL);
    match covers.and_then(|covers| Duration::try_from_secs_f64(covers).ok()) {
        Some(covers) if covers.as_secs() < 60 => {
            format!(
                "the {:.0} s that were recorded before",
                covers.as_secs_f64()
            )
        }
        Some(covers) => format!("the {} that were recorded before", roughly(covers)),
        None => whole.to_owned(),
    }
}

/// Those who grew most; with the first who was there all the time, where all of
/// them are new. Who is new started at some time of the whole.
fn sentences(grew: &[Growth], whole: &str, recorded: &str) -> Vec<String> {
    let (most, others) = grew.split_at(grew.len().min(MOST_GROWN));
    let all_new = most.iter().all(|growth| growth.is_new);
    let lasting = others.iter().find(|growth| !growth.is_new);
    let shown = most.iter().chain(lasting.filter(|_| all_new));
    let sentence = |growth: &Growth| {
        let time = if growth.is_new { whole } else { recorded };
        format!("in {time}, {}", grown(growth))
    };
    shown.map(sentence).collect()
}

/// Who grew by how much; of who was not in the cgroup at its limit, that it was
/// not.
fn grown(growth: &Growth) -> String {
    let (name, pid) = (growth.name.to_process_name(), growth.pid);
    let bytes = growth.growth_bytes;
    let outside = match growth.in_limited_cgroup {
        Some(false) => ", outside of the control group at its limit",
        _ => "",
    };
    let how = if growth.is_new {
        "is new and grew to"
    } else {
        "grew by"
    };
    format!("{name} ({pid}) {how} {bytes}{outside}")
}

#[cfg(test)]
mod tests {
    use grey_model::{Bytes, KernelText};

    use super::*;

    fn growth(pid: u32, is_new: bool, in_limited_cgroup: Option<bool>) -> Growth {
        Growth {
            pid,
            name: KernelText::from("web"),
            growth_bytes: Bytes::from_mib(1),
            is_new,
            in_limited_cgroup,
        }
    }

    #[test]
    fn who_was_not_in_the_cgroup_at_its_limit_is_told_so() {
        for plain in [None, Some(true)] {
            assert_eq!(grown(&growth(7, false, plain)), "web (7) grew by 1.0 MiB");
        }
        let outside = "web (7) grew by 1.0 MiB, outside of the control group at its limit";
        assert_eq!(grown(&growth(7, false, Some(false))), outside);
    }

    #[test]
    fn who_is_new_does_not_hide_who_grew_all_the_time() {
        let told = |news: [bool; 5]| -> Vec<String> {
            let grew: Vec<_> = (1..)
                .zip(news)
                .map(|(pid, new)| growth(pid, new, None))
                .collect();
            sentences(&grew, "WHOLE", "PART")
        };
        let new = |pid| format!("in WHOLE, web ({pid}) is new and grew to 1.0 MiB");
        let lasting = |pid| format!("in PART, web ({pid}) grew by 1.0 MiB");
        let shown = told([true, true, true, true, false]);
        assert_eq!(shown, [new(1), new(2), new(3), lasting(5)]);
        let shown = told([true, false, true, true, false]);
        assert_eq!(shown, [new(1), lasting(2), new(3)]);
    }

    #[test]
    fn no_longer_time_is_told_than_was_recorded() {
        let told = |covers| recorded(covers, 300.0, "all of it");
        assert_eq!(told(Some(299.0)), "all of it");
        assert_eq!(told(Some(25.0)), "the 25 s that were recorded before");
        assert_eq!(told(Some(125.0)), "the 2m 5s that were recorded before");
        assert_eq!(told(None), "all of it");
    }
}
