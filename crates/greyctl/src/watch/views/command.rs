//! A command in lines that a shell takes for one.
//!
//! Pure. Lines end in a backslash: between words, or within one that is wider
//! than the screen, and never within quotes, which are closed and opened anew.
//! The backslash stands in the last column, so that nothing behind it is copied
//! with it.

use unicode_width::UnicodeWidthStr as _;

/// What a letter of a command stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// Nothing.
    None,
    /// `'` and `'`.
    Plain,
    /// `$'` and `'`, where a backslash begins an escape.
    Escaping,
}

impl Quotes {
    const fn begin(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Plain => "'",
            Self::Escaping => "$'",
        }
    }

    const fn end(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Plain | Self::Escaping => "'",
        }
    }
}

/// The least part of a word: a letter, an escape, a quotation mark; and what
/// stands open behind it.
#[derive(Debug, Clone)]
struct Part {
    text: String,
    open: Quotes,
}

/// A word of a command.
type Word = Vec<Part>;

/// An escape with its quotes and the backslash behind them.
pub(super) const NARROWEST: usize = r"$'\000'\".len();

/// `command`, quoted as `shell_word` quotes, in lines of `width` columns; of
/// [`NARROWEST`] at least.
pub(super) fn lines(command: &str, width: usize) -> Vec<String> {
    let words = words(command);
    let mut pasted = Lines {
        lines: vec![String::new()],
        width,
    };
    for (place, word) in words.iter().enumerate() {
        let wide: usize = word.iter().map(|part| part.text.width()).sum();
        // Behind the last one there is no backslash.
        let more = if place + 1 < words.len() { 2 } else { 0 };
        let gap = usize::from(pasted.used() > 0);
        if gap > 0 && pasted.used() + gap + wide + more > width {
            pasted.end_between_words();
        } else {
            pasted.push(&" ".repeat(gap));
        }
        match pasted.used() + wide + more > width {
            true => pasted.push_in_parts(word),
            false => word.iter().for_each(|part| pasted.push(&part.text)),
        }
    }
    pasted.lines
}

/// The same command in ASCII: letters that are none are written as their bytes,
/// in octal.
pub(super) fn in_ascii(command: &str) -> String {
    let mut text = String::with_capacity(command.len());
    let mut outside = Quotes::None;
    let mut within = false;
    for part in parts(command) {
        let is_ascii = part.text.is_ascii();
        if within && is_ascii {
            text.push('\'');
            text.push_str(outside.begin());
            within = false;
        } else if !within && !is_ascii && outside != Quotes::Escaping {
            text.push_str(outside.end());
            text.push_str(Quotes::Escaping.begin());
            within = true;
        }
        match is_ascii {
            true => text.push_str(&part.text),
            false => text.extend(part.text.bytes().map(|byte| format!("\\{byte:03o}"))),
        }
        outside = part.open;
    }
    if within {
        text.push('\'');
    }
    text
}

/// Lines in the making.
struct Lines {
    lines: Vec<String>,
    width: usize,
}

impl Lines {
    fn used(&self) -> usize {
        self.lines.last().map_or(0, |line| line.width())
    }

    fn push(&mut self, text: &str) {
        if let Some(line) = self.lines.last_mut() {
            line.push_str(text);
        }
    }

    fn end_between_words(&mut self) {
        let pad = self.width.saturating_sub(self.used() + 1);
        self.push(&" ".repeat(pad));
        self.end();
        if pad == 0 {
            // The words would be one.
            self.push(" ");
        }
    }

    fn end(&mut self) {
        self.push("\\");
        self.lines.push(String::new());
    }

    fn push_in_parts(&mut self, word: &Word) {
        let mut open = Quotes::None;
        for part in word {
            let behind = part.open.end().len() + "\\".len();
            let is_begun = self.used() > open.begin().len();
            if is_begun && self.used() + part.text.width() + behind > self.width {
                self.push(open.end());
                self.end();
                self.push(open.begin());
            }
            self.push(&part.text);
            open = part.open;
        }
    }
}

fn words(command: &str) -> Vec<Word> {
    let is_gap = |part: &Part| part.open == Quotes::None && part.text == " ";
    let parts = parts(command);
    let words = parts.split(is_gap).filter(|word| !word.is_empty());
    words.map(<[Part]>::to_vec).collect()
}

/// The command in parts, with the gaps between its words.
fn parts(command: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut open = Quotes::None;
    let mut letters = command.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut text = String::from(letter);
        match (open, letter) {
            (Quotes::None, '\'') => open = Quotes::Plain,
            (Quotes::None, '$') if letters.peek() == Some(&'\'') => {
                text.extend(letters.next());
                open = Quotes::Escaping;
            }
            (Quotes::Plain | Quotes::Escaping, '\'') => open = Quotes::None,
            (Quotes::None, '\\') => text.extend(letters.next()),
            (Quotes::Escaping, '\\') => {
                // `\033`, `\'` or `\\`.
                let digits = if letters.peek().is_some_and(char::is_ascii_digit) {
                    3
                } else {
                    1
                };
                text.extend(letters.by_ref().take(digits));
            }
            _ => {}
        }
        parts.push(Part { text, open });
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use grey_model::shell_word;

    use super::*;

    /// What bash makes of the words behind a command.
    fn understood(command: &str) -> Vec<u8> {
        let script = format!("greyctl() {{ printf '%s\\0' \"$@\"; }}; {command}");
        let ran = Command::new("bash").args(["-c", &script]).output().unwrap();
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert!(
            ran.status.success() && stderr.is_empty(),
            "{stderr}: {command}"
        );
        ran.stdout
    }

    #[test]
    fn a_shell_takes_the_lines_for_the_command() {
        let commands = [
            "greyctl memory-watch --no-clear --show-processes --count 1 --filter index --procfs \
             /tmp/a/b/c/d/e/f --sysfs /sys"
                .to_owned(),
            format!("greyctl --filter {}", shell_word(b"my own  web 'shop'; rm")),
            format!(
                "greyctl --target {} -v",
                shell_word(b"/a\x1bb; c'd\\e\xff7 x")
            ),
            format!(
                "greyctl {} end",
                shell_word("日本語 日本語 日本語".as_bytes())
            ),
            format!("greyctl --state-dir={}", "x".repeat(150)),
        ];
        for command in commands {
            let expected = understood(&command);
            for width in [
                8, 9, 10, 11, 12, 13, 20, 21, 22, 23, 24, 40, 60, 79, 80, 200,
            ] {
                let lines = lines(&command, width);
                for line in &lines {
                    assert!(line.width() <= width, "{width}: {line}");
                }
                let (_, all_but_last) = lines.split_last().unwrap();
                assert!(all_but_last.iter().all(|line| line.ends_with('\\')));
                let pasted = lines.join("\n");
                assert_eq!(understood(&pasted), expected, "{width}:\n{pasted}");
            }
        }
    }

    #[test]
    fn in_ascii_a_shell_takes_it_for_the_same_command() {
        for word in [
            "café",
            "é",
            "日本 語's é",
            "é7",
            "7é8é",
            "plain",
            "it's",
            "a b\x1bé'é\\",
            "'é'",
        ] {
            let quoted = shell_word(word.as_bytes());
            // Bare, too, as a name within a word may be.
            for command in [
                format!("greyctl --target {quoted} -v"),
                format!("greyctl x{quoted}é end"),
            ] {
                let ascii = in_ascii(&command);
                assert!(ascii.is_ascii(), "{ascii}");
                assert_eq!(understood(&ascii), understood(&command), "{ascii}");
                let pasted = lines(&ascii, 20).join("\n");
                assert_eq!(understood(&pasted), understood(&command), "{pasted}");
            }
        }
    }

    #[test]
    fn words_are_whole_where_there_is_room_and_the_backslash_is_in_the_last_column() {
        let command = "greyctl memory-diagnose --target pid:312 --procfs /host/proc";
        assert_eq!(
            lines(command, 30),
            [
                "greyctl memory-diagnose      \\",
                "--target pid:312 --procfs    \\",
                "/host/proc"
            ]
        );
        assert_eq!(lines(command, 80), [command]);
    }

    #[test]
    fn no_width_makes_it_fail() {
        for width in 0..8 {
            let lines = lines("greyctl $'\\033a' 'b c'", width);
            assert!(lines.len() > 3, "{width}: {lines:?}");
        }
    }
}
