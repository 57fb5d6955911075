//! `memory.events` and `cgroup.events`: what happened to a cgroup.
//!
//! Never compares two readings: counters stay counters.

use grey_model::CgroupEvents;

use crate::ascii;

/// The counters of `memory.events` or `memory.events.local`.
#[must_use]
pub fn parse_memory_events(text: &[u8]) -> CgroupEvents {
    let mut events = CgroupEvents::default();
    for (key, count) in ascii::key_values(text) {
        let place = match key {
            b"low" => &mut events.low,
            b"high" => &mut events.high,
            b"max" => &mut events.max,
            b"oom" => &mut events.oom,
            b"oom_kill" => &mut events.oom_kill,
            b"oom_group_kill" => &mut events.oom_group_kill,
            _ => continue,
        };
        *place = Some(count);
    }
    events
}

/// `populated` of `cgroup.events`: whether the cgroup or one below it has
/// processes.
#[must_use]
pub fn parse_populated(text: &[u8]) -> Option<bool> {
    ascii::key_values(text)
        .find(|(key, _)| *key == b"populated")
        .map(|(_, value)| value != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_an_older_kernel_lacks_is_absent() {
        let events = parse_memory_events(b"low 0\nhigh 12\nmax 3\noom 1\noom_kill 1\nsock 4\n");
        assert_eq!(events.high, Some(12));
        assert_eq!(events.oom_kill, Some(1));
        assert_eq!(events.oom_group_kill, None);
    }

    #[test]
    fn populated_is_found_among_the_events() {
        assert_eq!(parse_populated(b"populated 1\nfrozen 0\n"), Some(true));
        assert_eq!(parse_populated(b"frozen 0\npopulated 0\n"), Some(false));
        assert_eq!(parse_populated(b"frozen 0\n"), None);
    }
}
