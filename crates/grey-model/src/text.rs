//! Text that the kernel or another program chose: process names, command
//! lines, cgroup names.
//!
//! Never assumed to be UTF-8, and never printed raw: control characters could
//! drive the reader's terminal.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a process without a name is called.
const NO_NAME: &str = "no name";

/// Bytes of foreign text.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelText(pub Vec<u8>);

impl KernelText {
    /// The bytes as they are.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of a process, or of what is called after one, as people read it: a
    /// program may take its own away.
    ///
    /// # Kernel
    /// `prctl(PR_SET_NAME, "")`; a command that is called so.
    #[must_use]
    pub fn to_process_name(&self) -> String {
        if self.is_empty() {
            return format!("({NO_NAME})");
        }
        self.to_string()
    }

    /// The same as it stands between brackets, which are not doubled.
    #[must_use]
    pub fn to_bracketed_name(&self) -> String {
        if self.is_empty() {
            return NO_NAME.to_owned();
        }
        self.to_string()
    }

    /// The text with bytes that are not UTF-8 written as `\xNN`; control
    /// characters stay. For JSON, whose encoder escapes those itself.
    #[must_use]
    pub fn to_utf8(&self) -> String {
        let mut out = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            out.push_str(chunk.valid());
            push_escaped(&mut out, chunk.invalid());
        }
        out
    }
}

impl<T: AsRef<[u8]> + ?Sized> From<&T> for KernelText {
    fn from(bytes: &T) -> Self {
        Self(bytes.as_ref().to_vec())
    }
}

/// Safe for a terminal: control characters and bytes that are not UTF-8 are
/// written as `\xNN`, as are the characters that reorder text, and those that
/// are not seen: two names that differ look different.
impl fmt::Display for KernelText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if misleads(character) {
                    let mut buffer = [0; 4];
                    push_escaped(&mut out, character.encode_utf8(&mut buffer).as_bytes());
                } else {
                    out.push(character);
                }
            }
            push_escaped(&mut out, chunk.invalid());
        }
        formatter.pad(&out)
    }
}

impl fmt::Debug for KernelText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{self}\"")
    }
}

impl Serialize for KernelText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_utf8())
    }
}

impl<'de> Deserialize<'de> for KernelText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into_bytes()))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for KernelText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KernelText".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Text chosen by the kernel or a program; bytes that are not UTF-8 are written as \\xNN.",
            "type": "string"
        })
    }
}

fn push_escaped(out: &mut String, bytes: &[u8]) {
    use std::fmt::Write as _;
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\x{byte:02x}");
    }
}

/// Whether a terminal obeys it, shows what follows in another order, or shows
/// nothing at all.
pub(crate) fn misleads(character: char) -> bool {
    character.is_control() || reorders_text(character) || is_invisible(character)
}

/// Marks, embeddings and isolates of the bidirectional algorithm.
fn reorders_text(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// What Unicode has programs ignore where they cannot show it (spaces of no
/// width, joiners, fillers, variation selectors, tags), the marks of
/// annotations, and line breaks of its own.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}'
            | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_sequence_in_a_name_cannot_reach_the_terminal() {
        let name = KernelText::from(b"\x1b[2Jevil\n\xff\xe2\x80\xae");
        assert_eq!(name.to_string(), "\\x1b[2Jevil\\x0a\\xff\\xe2\\x80\\xae");
    }

    #[test]
    fn a_process_without_a_name_is_told_as_one() {
        let name = |text: &str| KernelText::from(text).to_process_name();
        assert_eq!(name(""), "(no name)");
        assert_eq!(name("a\x1b"), "a\\x1b");
        let bracketed = |text: &str| format!("({})", KernelText::from(text).to_bracketed_name());
        assert_eq!(bracketed(""), "(no name)");
        assert_eq!(bracketed("a\x1b"), "(a\\x1b)");
    }

    #[test]
    fn two_names_that_differ_look_different() {
        for invisible in [
            "\u{ad}",
            "\u{200b}",
            "\u{200d}",
            "\u{2028}",
            "\u{2060}",
            "\u{3164}",
            "\u{fe0f}",
            "\u{feff}",
            "\u{e0041}",
            "\u{61c}",
        ] {
            let shown = KernelText::from(&format!("ngi{invisible}nx")).to_string();
            assert!(shown.is_ascii() && shown.contains("\\x"), "{shown}");
        }
        // What can be seen stays.
        for visible in ["e\u{301}", "日本語", "שלום"] {
            assert_eq!(KernelText::from(visible).to_string(), visible);
        }
    }

    #[test]
    fn json_keeps_every_valid_character_and_escapes_the_rest() {
        let name = KernelText::from(b"caf\xc3\xa9 \xff");
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"café \\\\xff\"");
    }
}
