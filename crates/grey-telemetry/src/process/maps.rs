//! `/proc/PID/maps`: the address ranges of a process.
//!
//! Never resolves a name: it is what the kernel prints, escaped newlines and
//! ` (deleted)` included.

use crate::ascii::lines;

/// One mapping.
///
/// # Kernel
/// `/proc/PID/maps`, proc_pid_maps(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping<'text> {
    /// First address.
    pub start: u64,
    /// First address behind it; above `start`.
    pub end: u64,
    /// May be read.
    pub readable: bool,
    /// May be written.
    pub writable: bool,
    /// `MAP_SHARED`.
    pub shared: bool,
    /// The file's inode number; 0 for anonymous memory.
    pub inode: u64,
    /// The file's path, `[heap]`, `[stack]`, `[anon:name]`; empty for plain
    /// anonymous memory.
    pub name: &'text [u8],
}

impl Mapping<'_> {
    /// Private memory without a file: the heap, stacks, `mmap`ed arenas. Not
    /// the kernel's own pages such as `[vdso]` and `[vvar]`.
    #[must_use]
    pub fn is_private_anonymous(&self) -> bool {
        let of_the_kernel = matches!(
            self.name,
            b"[vdso]" | b"[vvar]" | b"[vvar_vclock]" | b"[vsyscall]" | b"[uprobes]"
        );
        !self.shared && self.inode == 0 && !of_the_kernel
    }
}

/// The mappings in the order of their addresses; lines that are no mapping are
/// passed over.
pub fn parse_maps(text: &[u8]) -> impl Iterator<Item = Mapping<'_>> {
    lines(text).filter_map(parse_mapping)
}

/// One line; `None` for one that is no mapping.
pub(super) fn parse_mapping(line: &[u8]) -> Option<Mapping<'_>> {
    let (range, rest) = split_word(line)?;
    let (permissions, rest) = split_word(rest)?;
    let (_offset, rest) = split_word(rest)?;
    let (_device, rest) = split_word(rest)?;
    let (inode, name) = split_word(rest)?;
    let dash = range.iter().position(|&byte| byte == b'-')?;
    let start = parse_hexadecimal(&range[..dash])?;
    let end = parse_hexadecimal(&range[dash + 1..])?;
    let &[read, write, _execute, share] = permissions else {
        return None;
    };
    (start < end).then_some(Mapping {
        start,
        end,
        readable: read == b'r',
        writable: write == b'w',
        shared: share == b's',
        inode: crate::ascii::parse_u64(inode)?,
        name: name.trim_ascii_start(),
    })
}

/// The first word and what follows it.
fn split_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    if text.is_empty() {
        return None;
    }
    let end = text
        .iter()
        .position(|&byte| byte == b' ')
        .unwrap_or(text.len());
    Some(text.split_at(end))
}

fn parse_hexadecimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 16 {
        return None;
    }
    text.iter().try_fold(0u64, |number, &byte| {
        let digit = char::from(byte).to_digit(16)?;
        Some(number << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_files_mapping_keeps_its_name_with_spaces() {
        let text = b"7f00-8f00 r-xp 00001000 fe:00 247282    /usr/a b (deleted)\n";
        let mapping = parse_maps(text).next().unwrap();
        let expected = Mapping {
            start: 0x7f00,
            end: 0x8f00,
            readable: true,
            writable: false,
            shared: false,
            inode: 247_282,
            name: b"/usr/a b (deleted)",
        };
        assert_eq!(mapping, expected);
        assert!(!mapping.is_private_anonymous());
    }

    #[test]
    fn private_anonymous_memory_is_told_apart() {
        let text = b"1000-2000 rw-p 00000000 00:00 0 \n\
            2000-3000 rw-p 00000000 00:00 0    [heap]\n\
            3000-4000 rw-s 00000000 00:00 0    [anon_shmem:queue]\n\
            4000-5000 r-xp 00000000 00:00 0    [vdso]\n\
            ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";
        let private: Vec<bool> = parse_maps(text)
            .map(|mapping| mapping.is_private_anonymous())
            .collect();
        assert_eq!(private, [true, true, false, false, false]);
    }

    #[test]
    fn broken_lines_are_passed_over() {
        let text = b"\n1000 rw-p 0 0:0 0\n2000-1000 rw-p 0 0:0 0\n1000-2000 rw 0 0:0 0\n\
            1000-2000 rw-p 0 0:0\n3000-3000 rw-p 0 0:0 0\n1000-2000 rw-p 0 0:0 x\ng-h rw-p 0 0:0 0\n5000-6000 rw-p 0 0:0 0";
        let starts: Vec<u64> = parse_maps(text).map(|mapping| mapping.start).collect();
        assert_eq!(starts, [0x5000]);
    }

    #[test]
    fn our_own_maps_have_a_stack_in_order() {
        let text = std::fs::read("/proc/self/maps").unwrap();
        let mappings: Vec<_> = parse_maps(&text).collect();
        assert_eq!(mappings.len(), lines(&text).count());
        assert!(mappings.is_sorted_by_key(|mapping| mapping.start));
        assert!(mappings.iter().any(|mapping| mapping.name == b"[stack]"));
    }

    proptest! {
        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            assert!(parse_maps(&text).all(|mapping| mapping.start < mapping.end));
        }

        #[test]
        fn no_line_of_the_right_shape_panics(text in "([0-9a-f]{0,18}-[0-9a-f]{0,18} [rwxsp-]{3,5} 0 0:0 [0-9]{1,21} .{0,9}\n){0,3}") {
            assert!(parse_maps(text.as_bytes()).all(|mapping| mapping.start < mapping.end));
        }
    }
}
