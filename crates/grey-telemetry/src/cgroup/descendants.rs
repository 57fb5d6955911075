//! `cgroup.stat`: how many cgroups below were removed and have not gone.
//!
//! Never takes them for cgroups that can be looked into: they have no path.

use crate::ascii;

/// `nr_dying_descendants`: cgroups below that were removed and that something,
/// mostly page cache or kernel memory, still keeps.
///
/// # Kernel
/// `cgroup.stat`, `Documentation/admin-guide/cgroup-v2.rst`.
#[must_use]
pub fn parse_dying_descendants(text: &[u8]) -> Option<u64> {
    ascii::key_values(text)
        .find(|(key, _)| *key == b"nr_dying_descendants")
        .map(|(_, count)| count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_not_taken_for_that_of_a_controller() {
        let text = b"nr_descendants 4\nnr_dying_subsys_cpu 9\nnr_dying_descendants 2\n";
        assert_eq!(parse_dying_descendants(text), Some(2));
        assert_eq!(parse_dying_descendants(b"nr_descendants 4\n"), None);
        assert_eq!(parse_dying_descendants(b"nr_dying_descendants x\n"), None);
    }
}
