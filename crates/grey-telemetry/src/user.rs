//! User names by their number, from a passwd file.
//!
//! Never asks the name service: that would load foreign code and may wait for
//! a network. A user who is only known there is shown by number.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;

use grey_model::KernelText;
use rustix::fs::Mode;

use crate::ascii;
use crate::read::READING;

/// The most that is read of the file; further users stay without a name.
const LARGEST_PASSWD: u64 = 8 << 20;

/// Names by user id, read once.
#[derive(Debug, Clone, Default)]
pub struct UserNames {
    names: HashMap<u32, String>,
}

impl UserNames {
    /// The users in the file at `path`, `/etc/passwd` on a real machine. A
    /// file that cannot be read gives no names: they are only for people.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let mut text = Vec::new();
        // A pipe has no names, and nobody waits for its other end.
        let read = rustix::fs::open(path, READING, Mode::empty())
            .map(std::fs::File::from)
            .map_err(std::io::Error::from)
            .and_then(|file| file.take(LARGEST_PASSWD).read_to_end(&mut text));
        match read {
            Ok(_) => Self::parse(&text),
            Err(_) => Self::default(),
        }
    }

    /// Lines `name:password:uid:...`; of two names for one id the first holds.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut names = HashMap::new();
        for line in ascii::lines(text) {
            let mut fields = line.split(|&byte| byte == b':');
            let (Some(name), Some(id)) = (fields.next(), fields.nth(1)) else {
                continue;
            };
            let id = ascii::parse_u64(id).and_then(|id| u32::try_from(id).ok());
            if let Some(id) = id
                && !name.is_empty()
            {
                names
                    .entry(id)
                    .or_insert_with(|| KernelText::from(name).to_string());
            }
        }
        Self { names }
    }

    /// The name of a user.
    #[must_use]
    pub fn name(&self, user_id: u32) -> Option<&str> {
        self.names.get(&user_id).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_number() {
        let users = UserNames::parse(
            b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nweb:x:33:33::/:\n",
        );
        assert_eq!(users.name(0), Some("root"));
        assert_eq!(users.name(33), Some("web"));
        assert_eq!(users.name(1), None);
    }

    #[test]
    fn bad_lines_and_a_missing_file_give_no_names() {
        let users =
            UserNames::parse(b"half\n:x:5:\n+::::::\nbig:x:99999999999:\nx:y:z\n\xff:x:7:\n");
        assert_eq!(users.name(5), None);
        assert_eq!(users.name(7), Some("\\xff"));
        assert_eq!(
            UserNames::read(Path::new("/nonexistent/passwd")).name(0),
            None
        );
    }
}
