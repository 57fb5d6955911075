//! `/proc/PID/cmdline`: how a program was started.
//!
//! Never trusted as text, and never longer than [`LONGEST`].

use grey_model::KernelText;

/// The most that is kept of a command line, in bytes; `ps` once had the same.
pub const LONGEST: usize = 4096;

/// The arguments separated by spaces. Empty for kernel threads and zombies.
/// Programs may write anything over it.
///
/// # Kernel
/// `/proc/PID/cmdline`, proc_pid_cmdline(5): each argument ends with a NUL.
#[must_use]
pub fn parse_cmdline(text: &[u8]) -> KernelText {
    let text = text.get(..LONGEST).unwrap_or(text);
    let end = text
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    let arguments = text[..end]
        .iter()
        .map(|&byte| if byte == 0 { b' ' } else { byte });
    KernelText(arguments.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn arguments_are_separated_by_spaces() {
        let line = parse_cmdline(b"/bin/sh\0-c\0\0sleep 1\0");
        assert_eq!(line, KernelText::from("/bin/sh -c  sleep 1"));
    }

    #[test]
    fn padding_of_a_rewritten_title_goes() {
        let line = parse_cmdline(b"nginx: worker\0\0\0\0\0");
        assert_eq!(line, KernelText::from("nginx: worker"));
    }

    #[test]
    fn nothing_is_an_empty_line() {
        assert!(parse_cmdline(b"").is_empty());
        assert!(parse_cmdline(b"\0\0").is_empty());
    }

    proptest! {
        #[test]
        fn it_never_grows_and_holds_no_nul(text in proptest::collection::vec(any::<u8>(), 0..6000)) {
            let line = parse_cmdline(&text);
            prop_assert!(line.as_bytes().len() <= text.len().min(LONGEST));
            prop_assert!(!line.as_bytes().contains(&0));
        }
    }
}
