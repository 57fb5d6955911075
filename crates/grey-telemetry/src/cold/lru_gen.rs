//! `/sys/kernel/debug/lru_gen`: the generations of pages of every cgroup.
//!
//! Never takes a cut list for a whole one: a cgroup that is not found is not
//! one without pages.

use std::time::Duration;

use grey_model::{CgroupPath, Generation, GenerationList, PageSize, Pages};

use crate::ascii::{lines, parse_u64, words};

/// The generations of every cgroup and node, in the order of the file. Lines
/// that are none are passed over.
///
/// # Kernel
/// `/sys/kernel/debug/lru_gen`, since 6.1 with `CONFIG_LRU_GEN`;
/// `Documentation/admin-guide/mm/multigen_lru.rst`. For each cgroup, then each
/// node, a line for each generation: its number, its age in ms, its pages of
/// anonymous memory and of files. A cgroup's own pages alone, without those of
/// the cgroups below it. The path is that of the whole hierarchy, whatever our
/// namespace is.
#[must_use]
pub fn parse_lru_gen(text: &[u8], page_size: PageSize) -> Vec<GenerationList> {
    let mut lists: Vec<GenerationList> = Vec::new();
    let mut cgroup: Option<(u64, CgroupPath)> = None;
    for line in lines(text) {
        if let Some(rest) = line.strip_prefix(b"memcg ") {
            cgroup = parse_cgroup(rest);
        } else if let Some(node) = parse_node(line) {
            if let Some((memcg, path)) = &cgroup {
                lists.push(GenerationList {
                    cgroup: path.clone(),
                    memcg: *memcg,
                    node,
                    generations: Vec::new(),
                });
            }
        } else if let (Some(generation), Some(list), Some(_)) = (
            parse_generation(line, page_size),
            lists.last_mut(),
            cgroup.as_ref(),
        ) {
            list.generations.push(generation);
        }
    }
    for list in &mut lists {
        list.generations.sort_by_key(|generation| generation.number);
    }
    lists
}

/// `    3 /capture/inner`: the number, and the path to the end of the line.
fn parse_cgroup(rest: &[u8]) -> Option<(u64, CgroupPath)> {
    let rest = rest.trim_ascii_start();
    let space = rest.iter().position(|&byte| byte == b' ')?;
    let (number, path) = rest.split_at(space);
    let path = &path[1..];
    if !path.starts_with(b"/") {
        return None;
    }
    Some((parse_u64(number)?, CgroupPath::new(path)?))
}

/// ` node     0`
fn parse_node(line: &[u8]) -> Option<u32> {
    let mut words = words(line);
    if words.next()? != b"node" {
        return None;
    }
    let node = u32::try_from(parse_u64(words.next()?)?).ok()?;
    words.next().is_none().then_some(node)
}

/// `          3       7144      16944           0 `. The kernel marks the last
/// numbers with a letter in another form of this file, which is not read.
fn parse_generation(line: &[u8], page_size: PageSize) -> Option<Generation> {
    let mut words = words(line);
    let mut number = || parse_u64(words.next()?);
    let (sequence, age) = (number()?, number()?);
    let (anonymous, file) = (number()?, number()?);
    words.next().is_none().then_some(Generation {
        number: sequence,
        age: Duration::from_millis(age),
        anonymous: Pages(anonymous).bytes(page_size),
        file: Pages(file).bytes(page_size),
    })
}

#[cfg(test)]
mod tests {
    use grey_model::Bytes;
    use proptest::prelude::*;

    use super::*;

    const PAGE: fn() -> PageSize = || PageSize::new(4096).unwrap();

    #[test]
    fn each_cgroup_has_its_own_generations_oldest_first() {
        let text = b"memcg     1 /\n node     0\n          3       2108         14           7 \n          \
            2       2108        487           0 \nmemcg     3 /a b/inner\n node     1\n          \
            0          8          0           1 \n";
        let lists = parse_lru_gen(text, PAGE());
        let found: Vec<_> = lists
            .iter()
            .map(|list| (list.memcg, list.node, list.generations.len()))
            .collect();
        assert_eq!(found, [(1, 0, 2), (3, 1, 1)]);
        assert_eq!(lists[1].cgroup.as_bytes(), b"/a b/inner");
        let oldest = Generation {
            number: 2,
            age: Duration::from_millis(2108),
            anonymous: Bytes(487 * 4096),
            file: Bytes::ZERO,
        };
        assert_eq!(lists[0].generations[0], oldest);
        assert_eq!(lists[0].generations[1].file, Bytes(7 * 4096));
    }

    #[test]
    fn pages_of_a_cgroup_that_cannot_be_named_are_nobodys() {
        let text = b"memcg     1 /a\n node     0\n 0 1 5 0 \nmemcg     2 /../outside\n node     0\n 0 1 9 0 \n";
        let lists = parse_lru_gen(text, PAGE());
        assert_eq!(lists.len(), 1);
        assert_eq!(lists[0].generations.len(), 1);
    }

    #[test]
    fn broken_lines_are_passed_over() {
        let text = b"0 1 2 3\nmemcg x /\n node 0\nmemcg 1 /\n node x\n node 0\n 1 2 3\n 1 2 3 4 5\n 1 2 3 4x\n";
        let lists = parse_lru_gen(text, PAGE());
        assert_eq!(lists.len(), 1);
        assert!(lists[0].generations.is_empty());
    }

    proptest! {
        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_lru_gen(&text, PAGE());
        }

        #[test]
        fn no_lines_of_the_right_shape_panic(
            text in "(memcg [0-9]{1,21} /[a-z/.]{0,9}\n node [0-9]{1,21}\n( [0-9]{1,21}){4}\n){0,4}"
        ) {
            for list in parse_lru_gen(text.as_bytes(), PAGE()) {
                prop_assert!(list.generations.is_sorted_by_key(|generation| generation.number));
            }
        }
    }
}
