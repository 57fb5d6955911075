//! How much memory is cold, from what the kernel's generations of pages or its
//! marks of use say.
//!
//! Pure. Never tells of a window that nobody looked at: its amount is `None`,
//! and what could be cold at most is told beside it.

use std::time::Duration;

use grey_model::{
    Bytes, ColdUncertainty, ColdWindow, Generation, GenerationList, PageSize, Pages,
    PreflightFacts, TargetKind,
};

/// The windows that are told of when nobody names one: 1, 5 and 15 minutes.
pub const WINDOWS: [Duration; 3] = [
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(900),
];

/// The window that a plan is compared with.
pub const PLANNED: Duration = Duration::from_secs(300);

/// Translations of addresses that a CPU may keep: a page that is used through
/// one gets no new mark. Two thousand are more than today's CPUs have.
const KEPT_TRANSLATIONS: u64 = 2048;

/// What is cold, and how much was looked at for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColdEstimate {
    /// How much was looked at.
    pub counted: Bytes,
    /// How long ago the kernel last looked which pages are in use, where that
    /// is not now.
    pub blind: Option<Duration>,
    /// One for each window that was asked for.
    pub windows: Vec<ColdWindow>,
}

/// What the ages of `lists` say, as the kernel's own aging left them.
///
/// A page lies in the generation that was the youngest when it was last seen
/// in use. So it was not seen for as long as the next generation is old, and
/// perhaps for as long as its own is. Use since the youngest generation began
/// was not looked for, which is why nothing is cold for certain; and of a
/// window that is not longer than that, nothing is known.
#[must_use]
pub fn by_ages(lists: &[GenerationList], windows: &[Duration]) -> ColdEstimate {
    let blind = lists
        .iter()
        .filter(|list| total(list) > Bytes::ZERO)
        .filter_map(youngest_age)
        .max();
    let windows = windows.iter().map(|window| {
        let at_most = sum(lists, |list, index| list.generations[index].age >= *window);
        let is_seen = blind.is_some_and(|blind| blind < *window);
        let not_seen = sum(lists, |list, index| {
            let next = list.generations.get(index + 1);
            next.is_some_and(|next| next.age >= *window)
        });
        ColdWindow {
            window_seconds: window.as_secs(),
            cold: is_seen.then_some(not_seen),
            uncertainty: ColdUncertainty {
                at_least: Bytes::ZERO,
                at_most,
            },
        }
    });
    ColdEstimate {
        counted: lists.iter().map(total).sum(),
        blind,
        windows: windows.collect(),
    }
}

/// What was not used between two agings: `before` was read right before the
/// first, `after` right after the second. The second puts every page that was
/// used since the first into a generation that `before` does not have.
///
/// A file that is read without being mapped leaves no mark in a page table, so
/// that only anonymous memory is cold for certain.
#[must_use]
pub fn by_aging(
    before: &[GenerationList],
    after: &[GenerationList],
    window: Duration,
) -> ColdEstimate {
    let is_old = |list: &GenerationList, generation: &Generation| {
        before
            .iter()
            .find(|one| (one.memcg, one.node, &one.cgroup) == (list.memcg, list.node, &list.cgroup))
            .and_then(|one| one.generations.last())
            .is_some_and(|youngest| generation.number <= youngest.number)
    };
    let old = |part: fn(&Generation) -> Bytes| -> Bytes {
        after
            .iter()
            .flat_map(|list| {
                let old = list.generations.iter();
                old.filter(|generation| is_old(list, generation)).map(part)
            })
            .sum()
    };
    let cold = old(Generation::bytes);
    ColdEstimate {
        counted: after.iter().map(total).sum(),
        blind: None,
        windows: vec![ColdWindow {
            window_seconds: window.as_secs(),
            cold: Some(cold),
            uncertainty: ColdUncertainty {
                at_least: old(|generation| generation.anonymous),
                at_most: cold,
            },
        }],
    }
}

/// One process's marks of use at the end of a window that began when they were
/// cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Resident memory.
    pub resident: Bytes,
    /// What of it has a mark.
    pub referenced: Bytes,
    /// What of it is in huge pages, as far as that is known.
    pub huge: Bytes,
}

/// What has no mark. `scanned` says that the kernel looked for memory to take
/// meanwhile: it takes marks away, too, so that nothing is certain any more.
/// A CPU that still knows a page's address uses it without a mark: so much of
/// what has none may be in use, and all of what lies in huge pages.
#[must_use]
pub fn by_marks(
    marks: &[Marks],
    scanned: bool,
    page_size: PageSize,
    cpus: u64,
    window: Duration,
) -> ColdEstimate {
    // Of base pages alone: huge ones are doubted whole.
    let doubtful = Pages(KEPT_TRANSLATIONS.saturating_mul(cpus.max(1))).bytes(page_size);
    let cold: Bytes = marks
        .iter()
        .map(|process| process.resident.saturating_sub(process.referenced))
        .sum();
    let huge: Bytes = marks.iter().map(|process| process.huge).sum();
    let certain = cold.saturating_sub(doubtful).saturating_sub(huge);
    ColdEstimate {
        counted: marks.iter().map(|process| process.resident).sum(),
        blind: None,
        windows: vec![ColdWindow {
            window_seconds: window.as_secs(),
            cold: Some(cold),
            uncertainty: ColdUncertainty {
                at_least: if scanned { Bytes::ZERO } else { certain },
                at_most: cold,
            },
        }],
    }
}

/// What of the target of `facts` has not been seen in use for [`PLANNED`], with
/// what may be cold at most; `None` where the kernel does not tell, or tells of
/// others, too.
pub(crate) fn of_target(facts: &PreflightFacts) -> Option<(Bytes, ColdUncertainty)> {
    let target = facts.target.as_ref()?;
    if target.kind == TargetKind::Process && target.bystanders > 0 {
        return None;
    }
    let estimate = by_ages(facts.generations.as_deref()?, &[PLANNED]);
    let window = estimate.windows.first()?;
    Some((window.cold?, window.uncertainty))
}

/// What a prediction says of cold memory; nothing where it is not known.
pub(crate) fn remark(cold: Option<(Bytes, ColdUncertainty)>) -> String {
    cold.map_or_else(String::new, |(cold, _)| {
        format!("; {cold} was not seen in use for 5 minutes")
    })
}

/// What to know before taking `amount`, where less than that may be cold.
pub(crate) fn warning(amount: Bytes, (cold, _): (Bytes, ColdUncertainty)) -> Option<String> {
    (amount > cold).then(|| {
        format!(
            "only {cold} of {amount} was not seen in use for 5 minutes: the rest may be in use \
             and be read back at once"
        )
    })
}

fn total(list: &GenerationList) -> Bytes {
    list.generations.iter().map(Generation::bytes).sum()
}

fn youngest_age(list: &GenerationList) -> Option<Duration> {
    list.generations.last().map(|youngest| youngest.age)
}

fn sum(lists: &[GenerationList], counts: impl Fn(&GenerationList, usize) -> bool) -> Bytes {
    lists
        .iter()
        .flat_map(|list| {
            (0..list.generations.len())
                .filter(|index| counts(list, *index))
                .map(|index| list.generations[index].bytes())
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use grey_model::CgroupPath;
    use proptest::prelude::*;

    use super::*;

    const MIB: fn(u64) -> Bytes = Bytes::from_mib;

    /// Generations as age in seconds, anonymous and file MiB; oldest first.
    fn list(first: u64, generations: &[(u64, u64, u64)]) -> GenerationList {
        let generations = (first..).zip(generations);
        GenerationList {
            cgroup: CgroupPath::root(),
            memcg: 7,
            node: 0,
            generations: generations
                .map(|(number, &(age, anonymous, file))| Generation {
                    number,
                    age: Duration::from_secs(age),
                    anonymous: MIB(anonymous),
                    file: MIB(file),
                })
                .collect(),
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_the_next_generation_is_old_is_how_long_a_page_was_not_seen() {
        let lists = [list(
            2,
            &[(1000, 10, 1), (400, 20, 2), (90, 30, 3), (30, 40, 4)],
        )];
        let estimate = by_ages(&lists, &WINDOWS);
        assert_eq!(estimate.counted, MIB(110));
        assert_eq!(estimate.blind, Some(seconds(30)));
        let told: Vec<_> = estimate
            .windows
            .iter()
            .map(|window| (window.cold, window.uncertainty.at_most))
            .collect();
        assert_eq!(
            told,
            [
                (Some(MIB(33)), MIB(66)),
                (Some(MIB(11)), MIB(33)),
                (Some(Bytes::ZERO), MIB(11)),
            ]
        );
    }

    #[test]
    fn nothing_is_told_of_a_window_in_which_nobody_looked() {
        let lists = [list(0, &[(3000, 0, 0), (3000, 0, 0), (3000, 500, 0)])];
        for window in by_ages(&lists, &WINDOWS).windows {
            assert_eq!(window.cold, None);
            assert_eq!(window.uncertainty.at_most, MIB(500));
        }
        let looked_lately = [list(0, &[(3000, 500, 0), (2000, 0, 0), (10, 0, 0)])];
        let told = by_ages(&looked_lately, &WINDOWS).windows;
        assert!(told.iter().all(|window| window.cold == Some(MIB(500))));
    }

    #[test]
    fn a_cgroup_without_pages_hides_nothing_of_the_others() {
        let lists = [
            list(0, &[(3000, 0, 0)]),
            list(0, &[(900, 5, 0), (70, 0, 0), (20, 1, 0)]),
        ];
        assert_eq!(
            by_ages(&lists, &[seconds(60)]).windows[0].cold,
            Some(MIB(5))
        );
    }

    #[test]
    fn the_second_aging_leaves_behind_what_was_not_used() {
        // The readings of a real kernel: half was used, half was not.
        let before = [list(0, &[(3, 0, 0), (3, 0, 0), (3, 0, 0), (3, 66, 4)])];
        let after = [list(2, &[(7, 0, 0), (7, 33, 4), (4, 33, 0), (0, 0, 0)])];
        let window = by_aging(&before, &after, seconds(4)).windows[0];
        assert_eq!(window.cold, Some(MIB(37)));
        assert_eq!(window.uncertainty.at_least, MIB(33));
        assert_eq!(window.uncertainty.at_most, MIB(37));
    }

    #[test]
    fn a_cgroup_that_was_made_meanwhile_has_nothing_cold() {
        let after = [list(0, &[(1, 50, 0)])];
        assert_eq!(
            by_aging(&[], &after, seconds(4)).windows[0].cold,
            Some(Bytes::ZERO)
        );
    }

    #[test]
    fn what_has_no_mark_is_cold_but_for_what_cpus_keep_in_mind() {
        let page = PageSize::new(4096).unwrap();
        let marks = |huge| Marks {
            resident: MIB(256),
            referenced: MIB(128),
            huge: MIB(huge),
        };
        let window = by_marks(&[marks(0)], false, page, 2, seconds(60)).windows[0];
        assert_eq!(window.cold, Some(MIB(128)));
        assert_eq!(window.uncertainty.at_least, MIB(112));
        let in_huge_pages = by_marks(&[marks(256)], false, page, 2, seconds(60)).windows[0];
        assert_eq!(in_huge_pages.uncertainty.at_least, Bytes::ZERO);
        let scanned = by_marks(&[marks(0)], true, page, 2, seconds(60)).windows[0];
        assert_eq!(scanned.cold, Some(MIB(128)));
        assert_eq!(scanned.uncertainty.at_least, Bytes::ZERO);
    }

    proptest! {
        #[test]
        fn what_is_cold_lies_between_its_bounds(
            generations in proptest::collection::vec((0u64..5000, 0u64..100, 0u64..100), 0..5),
            window in 1u64..4000,
        ) {
            let mut generations = generations;
            generations.sort_by_key(|(age, ..)| std::cmp::Reverse(*age));
            let lists = [list(1, &generations)];
            let estimate = by_ages(&lists, &[seconds(window)]);
            let told = estimate.windows[0];
            prop_assert!(told.uncertainty.at_most <= estimate.counted);
            if let Some(cold) = told.cold {
                prop_assert!(told.uncertainty.at_least <= cold);
                prop_assert!(cold <= told.uncertainty.at_most);
            }
        }
    }
}
