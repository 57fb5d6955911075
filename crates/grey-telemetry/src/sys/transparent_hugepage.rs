//! `/sys/kernel/mm/transparent_hugepage/*`: when huge pages are made by the
//! kernel itself.
//!
//! Never changes anything.

use std::path::Path;

use grey_model::{HugePageSettings, Reading};

use crate::ascii;
use crate::roots::Kernel;
use crate::sys::NO_SYSFS;

const DIRECTORY: &str = "kernel/mm/transparent_hugepage";

/// Reads the settings, each by itself.
#[must_use]
pub fn read_huge_pages(kernel: &Kernel, buffer: &mut Vec<u8>) -> HugePageSettings {
    let Some(sys) = &kernel.sys else {
        let unknown = || Reading::Unknown(NO_SYSFS.to_owned());
        return HugePageSettings {
            enabled: unknown(),
            defrag: unknown(),
            max_ptes_none: Reading::Unknown(NO_SYSFS.to_owned()),
        };
    };
    let directory = Path::new(DIRECTORY);
    HugePageSettings {
        enabled: sys.look(directory.join("enabled"), buffer, parse_choice),
        defrag: sys.look(directory.join("defrag"), buffer, parse_choice),
        max_ptes_none: sys.look(
            directory.join("khugepaged/max_ptes_none"),
            buffer,
            ascii::single_u64,
        ),
    }
}

/// The words that there are.
const CHOICES: [&str; 5] = ["always", "madvise", "never", "defer", "defer+madvise"];

/// The chosen word of `always [madvise] never`; none that is not known.
#[must_use]
pub fn parse_choice(text: &[u8]) -> Option<String> {
    let chosen = ascii::chosen_word(text)?;
    let known = CHOICES.iter().find(|word| word.as_bytes() == chosen)?;
    Some((*known).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_the_word_in_brackets() {
        let chosen = |text: &[u8]| parse_choice(text);
        assert_eq!(
            chosen(b"always [madvise] never\n").as_deref(),
            Some("madvise")
        );
        assert_eq!(chosen(b"always madvise never\n"), None);
        for text in [&b"\n"[..], b"-1\n", b"always [\xff] never\n"] {
            assert_eq!(chosen(text), None);
        }
    }
}
