//! Words as a shell reads them, for the commands that we recommend: what is
//! copied from a hint must mean the same where it is pasted.
//!
//! Never runs a shell, and never prints a byte that a terminal would obey.

use std::fmt::Write as _;

use crate::text::misleads;

/// `bytes` as one word of a shell's command line: as it is where nothing in it
/// means anything to a shell, else in quotes. What could drive a terminal, and
/// what is not UTF-8, is written in octal between `$'` and `'`, as POSIX has
/// it since 2024 and bash, zsh, ksh and busybox have long had it.
#[must_use]
pub fn shell_word(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.bytes().all(is_plain) => text.to_owned(),
        Ok(text) if !text.chars().any(misleads) => {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
        _ => in_octal(bytes),
    }
}

/// Letters, digits, and the signs that no shell takes for its own anywhere.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'_' | b'.' | b'/' | b':' | b'@' | b'%' | b'+' | b','
        )
}

fn in_octal(bytes: &[u8]) -> String {
    let mut word = String::from("$'");
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut buffer = [0; 4];
            match character {
                '\'' | '\\' => word.extend(['\\', character]),
                _ if misleads(character) => {
                    push_octal(&mut word, character.encode_utf8(&mut buffer).as_bytes());
                }
                _ => word.push(character),
            }
        }
        push_octal(&mut word, chunk.invalid());
    }
    word.push('\'');
    word
}

fn push_octal(word: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Three digits always, so that a digit that follows is none of them.
        // Writing to a String cannot fail.
        let _ = write!(word, "\\{byte:03o}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_word_stays_as_it_is() {
        for word in ["/var/lib/grey-optimizer", "user@1000.service", "512M"] {
            assert_eq!(shell_word(word.as_bytes()), word);
        }
    }

    #[test]
    fn what_a_shell_would_read_otherwise_is_quoted() {
        assert_eq!(shell_word(b""), "''");
        assert_eq!(shell_word(b"/my state"), "'/my state'");
        assert_eq!(shell_word(b"it's"), r"'it'\''s'");
        assert_eq!(shell_word(b"a\\x2db.service"), r"'a\x2db.service'");
        for word in [
            "$(reboot)",
            "a;b",
            "~root",
            "a*",
            "#a",
            "a=b",
            "!a",
            "caf\u{e9}",
        ] {
            assert_eq!(shell_word(word.as_bytes()), format!("'{word}'"));
        }
    }

    #[test]
    fn nothing_in_a_word_reaches_the_terminal_as_a_command() {
        assert_eq!(shell_word(b"/a\x1b[2J"), r"$'/a\033[2J'");
        assert_eq!(shell_word(b"\n0'\\"), r"$'\0120\'\\'");
        assert_eq!(shell_word(b"\xff caf\xc3\xa9"), r"$'\377 café'");
        assert_eq!(shell_word("\u{202e}x".as_bytes()), r"$'\342\200\256x'");
        assert_eq!(shell_word("a\u{200b}".as_bytes()), r"$'a\342\200\213'");
    }
}
