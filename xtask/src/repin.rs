//! `cargo xtask kernels`: gets the pinned kernels, or pins newer ones.
//!
//! Never commits what it has pinned: a person looks at the table first.

use std::fmt::Write;
use std::fs;

use crate::kernels;
use crate::packages::{self, Need};
use crate::pins::{KernelPin, PINS};
use crate::talk;
use crate::workspace::Workspace;
use crate::{BROKEN, FAILED, PASSED, broken};

/// Everything before this line of the table's file is kept.
const TABLE_BEGINS: &str = "// The table. Written by `cargo xtask kernels --repin`.\n";

/// Gets every kernel ready, after pinning the newest ones if asked to.
pub(crate) fn kernels(workspace: &Workspace, repin: bool) -> u8 {
    if let Err(error) = packages::ensure(Need::Guests) {
        return broken(&error);
    }
    if repin {
        return pin_newest(workspace);
    }
    let mut code = PASSED;
    for pin in PINS {
        match kernels::ready(workspace, pin.series) {
            Ok(kernel) => talk::result(&format!("{}: {}", pin.series, kernel.release)),
            Err(error) => code = broken(&error),
        }
    }
    code
}

fn pin_newest(workspace: &Workspace) -> u8 {
    let found = match kernels::newest(workspace) {
        Ok(found) => found,
        Err(error) => return broken(&error),
    };
    for (old, new) in PINS.iter().zip(&found) {
        let change = if old == new {
            "stays"
        } else {
            "is pinned now, instead of"
        };
        talk::result(&format!(
            "{}: {} {change} {}",
            new.series, new.version, old.version
        ));
    }
    let path = workspace.root().join("xtask/src/pins.rs");
    let written = fs::read_to_string(&path).map(|text| with_table(&text, &found));
    match written {
        Ok(Some(text)) => match fs::write(&path, text) {
            Ok(()) => PASSED,
            Err(error) => broken(&error),
        },
        Ok(None) => {
            talk::line(&format!(
                "error: `{}` has no line that begins the table",
                path.display()
            ));
            FAILED
        }
        Err(error) => {
            talk::line(&format!(
                "error: failed to read `{}`: {error}",
                path.display()
            ));
            BROKEN
        }
    }
}

/// The table's file with other pins.
fn with_table(text: &str, pins: &[KernelPin]) -> Option<String> {
    let (before, _) = text.split_once(TABLE_BEGINS)?;
    let mut new = format!(
        "{before}{TABLE_BEGINS}/// What is pinned.\npub(crate) const PINS: &[KernelPin] = &[\n"
    );
    for pin in pins {
        let KernelPin {
            series,
            suite,
            package,
            version,
            file,
            sha256,
        } = pin;
        // Writing to a string does not fail.
        let _ = write!(
            new,
            "    KernelPin {{\n        series: {series:?},\n        suite: {suite:?},\n        package: {package:?},\n        \
             version: {version:?},\n        file: {file:?},\n        sha256: {sha256:?},\n    }},\n"
        );
    }
    new.push_str("];\n");
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_table_is_what_would_be_written() {
        let committed = include_str!("pins.rs");
        assert_eq!(with_table(committed, PINS).unwrap(), committed);
    }

    #[test]
    fn a_file_without_the_table_is_left_alone() {
        assert_eq!(with_table("nothing", PINS), None);
    }
}
