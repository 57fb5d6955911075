//! How much may still be taken before something is full.
//!
//! Never guesses: where a number is missing there is no headroom to tell.

use grey_model::{Bytes, CgroupMemory, Meminfo, MemoryLimit};

/// What the machine can still give: available memory and `swap_free`. `None`
/// where the kernel does not tell what is available.
#[must_use]
pub fn machine_headroom(meminfo: &Meminfo, swap_free: Bytes) -> Option<Bytes> {
    Some(meminfo.mem_available?.saturating_add(swap_free))
}

/// What may still be taken in a cgroup: the least of the machine's headroom and
/// of what each group of `chain` (the cgroup itself and those above it) leaves
/// below its `high` or `max`. Page cache on the lists gives way and counts as
/// free; so does swap that the group may use.
#[must_use]
pub fn tightest_headroom<'group>(
    machine: Option<Bytes>,
    swap_free: Bytes,
    chain: impl IntoIterator<Item = &'group CgroupMemory>,
) -> Option<Bytes> {
    chain
        .into_iter()
        .filter_map(|group| below_limit(group, swap_free))
        .chain(machine)
        .min()
}

fn below_limit(group: &CgroupMemory, swap_free: Bytes) -> Option<Bytes> {
    let limit = [group.high, group.max]
        .into_iter()
        .flatten()
        .filter_map(|limit| match limit {
            MemoryLimit::Bytes(bytes) => Some(bytes),
            MemoryLimit::Max => None,
        })
        .min()?;
    let stat = group.stat.as_ref();
    let cache: Bytes = stat
        .map(|stat| [stat.inactive_file, stat.active_file])
        .into_iter()
        .flatten()
        .flatten()
        .sum();
    let stays = group.current?.saturating_sub(cache);
    let swap = match group.swap_max {
        Some(MemoryLimit::Bytes(most)) => {
            swap_free.min(most.saturating_sub(group.swap_current.unwrap_or_default()))
        }
        _ => swap_free,
    };
    Some(limit.saturating_sub(stays).saturating_add(swap))
}

#[cfg(test)]
mod tests {
    use super::*;
    use grey_model::{CgroupId, CgroupMemoryStat, CgroupPath};

    fn group(current: u64, max: Option<u64>, cache: u64) -> CgroupMemory {
        CgroupMemory {
            path: CgroupPath::root(),
            id: CgroupId(1),
            current: Some(Bytes(current)),
            peak: None,
            min: None,
            low: None,
            high: None,
            max: max.map(|max| MemoryLimit::Bytes(Bytes(max))),
            effective_limit: None,
            swap_current: Some(Bytes(5)),
            swap_max: Some(MemoryLimit::Bytes(Bytes(15))),
            zswap_current: None,
            oom_group: None,
            can_reclaim: true,
            events: None,
            pressure: None,
            stat: Some(CgroupMemoryStat {
                active_file: Some(Bytes(cache)),
                ..CgroupMemoryStat::default()
            }),
            process_count: None,
            populated: None,
        }
    }

    #[test]
    fn the_tightest_of_group_ancestors_and_machine_counts() {
        let (inner, outer) = (group(80, None, 0), group(90, Some(100), 20));
        let room = tightest_headroom(Some(Bytes(1000)), Bytes(500), [&inner, &outer]);
        // 100 - (90 - 20), and 10 more in swap.
        assert_eq!(room, Some(Bytes(40)));
        let room = tightest_headroom(Some(Bytes(30)), Bytes(500), [&inner, &outer]);
        assert_eq!(room, Some(Bytes(30)));
    }

    #[test]
    fn without_a_limit_and_a_machine_there_is_none_to_tell() {
        assert_eq!(
            tightest_headroom(None, Bytes(9), [&group(1, None, 0)]),
            None
        );
        assert_eq!(machine_headroom(&Meminfo::default(), Bytes(9)), None);
    }

    #[test]
    fn the_machine_has_what_is_available_and_free_swap() {
        let meminfo = Meminfo {
            mem_available: Some(Bytes(70)),
            ..Meminfo::default()
        };
        assert_eq!(machine_headroom(&meminfo, Bytes(7)), Some(Bytes(77)));
    }
}
