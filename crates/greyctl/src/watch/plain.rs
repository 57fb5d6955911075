//! The same for where there is no terminal to draw on: lines.
//!
//! Pure. One line each time, with the lists below it that are wanted; with
//! `--no-clear` a block.

use grey_model::{Bytes, Percent};
use jiff::tz::TimeZone;

use super::rows::rows;
use super::shot::Shot;
use super::state::{State, View};
use super::views::table::{none, printed};
use crate::diagnose::machine::{signed, zram_sentence, zswap_sentence};
use crate::moment::shown;
use crate::table::{BOLD, DIM};

/// How much is printed each time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent<'lists> {
    /// The lists, each as it is chosen.
    pub(super) lists: &'lists [State],
    /// How many rows of each.
    pub(super) top: usize,
    /// A block instead of a line.
    pub(super) block: bool,
    /// The width to stay within.
    pub(super) width: Option<usize>,
}

/// What is printed of one look.
pub(super) fn print(shot: &Shot, extent: Extent<'_>, zone: &TimeZone) -> String {
    let mut text = match extent.block {
        true => block(shot, zone),
        false => format!("{}\n", line(shot, zone)),
    };
    for list in extent.lists.iter().filter(|_| extent.top > 0) {
        let mut rows = rows(shot, list);
        if rows.is_empty() {
            text.push_str(&format!("{DIM}{}{DIM:#}\n", why_empty(shot, list)));
            continue;
        }
        rows.truncate(extent.top);
        text.push_str(&printed(list, &rows, extent.width));
        if let Some(sentence) = shot.unmeasured.sentence()
            && list.view != View::Cgroups
        {
            text.push_str(&format!("{DIM}{sentence}{DIM:#}\n"));
        }
    }
    if extent.block {
        text.push('\n');
    }
    text
}

/// Why a list has no rows.
fn why_empty(shot: &Shot, list: &State) -> &'static str {
    match list.view {
        View::Cgroups if shot.cgroups.is_none() => {
            "control groups: history has none of this moment"
        }
        _ if !list.filter.is_empty() => "nothing passes the filter",
        view => none(view),
    }
}

/// The totals in one line.
fn line(shot: &Shot, zone: &TimeZone) -> String {
    let totals = &shot.totals;
    let share = totals.used.percent_of(totals.total).unwrap_or_default();
    let mut text = format!(
        "{}  used {} of {} ({share})",
        shown(shot.at_unix_ms, zone),
        totals.used,
        totals.total
    );
    if let Some(available) = totals.available {
        text.push_str(&format!(", available {available}"));
    }
    text.push_str(&format!(", swap {}", Bytes(shot.swap.used_bytes)));
    if shot.swap.total_bytes > 0 {
        text.push_str(&format!(" of {}", Bytes(shot.swap.total_bytes)));
    }
    if let Some(stall) = shot.stalls.last() {
        let (some, full) = (Percent(stall.some), Percent(stall.full));
        text.push_str(&format!(", stalled some {some} full {full}"));
    }
    text
}

fn block(shot: &Shot, zone: &TimeZone) -> String {
    let classes: Vec<String> = shot
        .classes
        .iter()
        .map(|(class, bytes)| format!("{} {}", class.label(), signed(bytes)))
        .collect();
    let mut text = format!(
        "{BOLD}{}{BOLD:#}\n  {}\n",
        line(shot, zone),
        classes.join(", ")
    );
    let zram = shot.swap.zram.iter().map(zram_sentence);
    let zswap = shot.swap.zswap.as_ref().and_then(zswap_sentence);
    for sentence in zram.chain(zswap) {
        text.push_str(&format!("  {sentence}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use grey_fake_kernel::FakeKernel;
    use grey_model::GroupBy;

    use super::*;
    use crate::watch::testkit;

    fn printed(kernel: &FakeKernel, lists: &[State], block: bool) -> String {
        let extent = Extent {
            lists,
            top: 2,
            block,
            width: Some(80),
        };
        let text = print(&testkit::shot(kernel), extent, &TimeZone::UTC);
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn each_look_is_one_line() {
        let text = printed(&FakeKernel::full(), &[], false);
        assert_eq!(
            text,
            "2026-11-21 12:00:00  used 580.0 MiB of 1000.0 MiB (58.0 %), available 420.0 MiB, \
             swap 80.0 MiB of 1.5 GiB, stalled some 1.5 % full 0.5 %\n"
        );
    }

    #[test]
    fn the_largest_processes_are_below_it() {
        let list = State::new(View::Processes, GroupBy::Program);
        let text = printed(&FakeKernel::full(), &[list], false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[2].contains("nginx"), "{text}");
    }

    #[test]
    fn a_list_has_only_what_its_filter_lets_through() {
        let mut list = State::new(View::Cgroups, GroupBy::Program);
        list.filter = "web/e".to_owned();
        let text = printed(&FakeKernel::full(), &[list], false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[2].contains("/build/web/empty"), "{text}");
    }

    #[test]
    fn a_block_has_the_classes_and_ends_in_an_empty_line() {
        let text = printed(&FakeKernel::full(), &[], true);
        assert!(
            text.contains("anonymous 200.0 MiB, tmpfs+shared 60.0 MiB"),
            "{text}"
        );
        assert!(text.contains("zram0: 72.0 MiB of pages"), "{text}");
        assert!(text.ends_with("\n\n"), "{text:?}");
    }

    #[test]
    fn a_list_without_rows_says_why() {
        let mut list = State::new(View::Cgroups, GroupBy::Program);
        let without = FakeKernel::full().without("cgroup");
        let text = printed(&without, &[list.clone()], false);
        assert!(text.contains("no control groups with a memory account of version 2"));
        list.filter = "nobody-is-called-so".to_owned();
        let text = printed(&FakeKernel::full(), &[list], false);
        assert!(text.contains("nothing passes the filter"), "{text}");
    }

    #[test]
    fn a_dash_for_pss_has_its_reason_below_the_list() {
        let mut shot = testkit::shot(&FakeKernel::full());
        shot.unmeasured = crate::watch::shot::Unmeasured {
            waiting: 2,
            too_large: 1,
        };
        let reason = "PSS of 2 still to be read, of 1 too dear to read";
        for (view, has_it) in [(View::Processes, true), (View::Cgroups, false)] {
            let extent = Extent {
                lists: &[State::new(view, GroupBy::Program)],
                top: 2,
                block: false,
                width: Some(80),
            };
            let text = print(&shot, extent, &TimeZone::UTC);
            assert_eq!(text.contains(reason), has_it, "{text}");
        }
    }

    #[test]
    fn without_pressure_or_swap_they_are_not_told_as_numbers() {
        let kernel = FakeKernel::full().without("proc/pressure");
        assert!(!printed(&kernel, &[], false).contains("stalled"));
    }
}
