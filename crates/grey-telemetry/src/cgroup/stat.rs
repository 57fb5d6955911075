//! `memory.stat`: what a cgroup's memory consists of.
//!
//! Never keeps all of its lines: only those that [`CgroupMemoryStat`] names.

use grey_model::CgroupMemoryStat;

use crate::ascii;

/// The lines that are kept; others are passed over.
#[must_use]
pub fn parse_memory_stat(text: &[u8]) -> CgroupMemoryStat {
    let mut stat = CgroupMemoryStat::default();
    for (key, value) in ascii::key_values(text) {
        stat.set(key, value);
    }
    stat
}

#[cfg(test)]
mod tests {
    use super::*;
    use grey_model::Bytes;

    #[test]
    fn lines_are_found_by_their_whole_name() {
        let stat = parse_memory_stat(b"anon 8192\nanon_thp 4096\nnew_thing 3\npgscan 5\nfile x\n");
        assert_eq!(stat.anon, Some(Bytes(8192)));
        assert_eq!(stat.anon_thp, Some(Bytes(4096)));
        assert_eq!(stat.pgscan, Some(5));
        assert_eq!(stat.file, None);
    }
}
