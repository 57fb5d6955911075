//! Kernel files are opened for writing in one file alone. Whoever else in
//! `crates/` opens a file for writing stands in a list, with the reason.
//!
//! A list that names a file which opens nothing any more is a problem, too.

use std::path::Path;

use super::relative;
use super::sources::{is_test_file, production, rust_files, text};

/// A file and why it may open files for writing.
pub(super) type Writer = (&'static str, &'static str);

/// Everybody who may.
pub(super) const ALLOWED: &[Writer] = &[
    (
        "crates/grey-budget/src/disk.rs",
        "what a program spills: ordinary files in a directory of its own",
    ),
    (
        "crates/grey-budget/src/saved_state/beside.rs",
        "what a program saves of its caches: ordinary files",
    ),
    (
        "crates/grey-budget/src/oom_score.rs",
        "the library runs inside other programs, and sets oom_score_adj of its own process alone",
    ),
    (
        "crates/grey-budget/src/pressure_watch.rs",
        "a pressure trigger lives on the descriptor that it was written to, and changes nothing else",
    ),
    (
        "crates/grey-enforcement/src/kernel_file.rs",
        "the one file that opens kernel files for writing",
    ),
    (
        "crates/grey-enforcement/src/journal/directory.rs",
        "the journal: ordinary files in the state directory",
    ),
    (
        "crates/grey-enforcement/src/journal/lock.rs",
        "the journal's lock: an ordinary file",
    ),
    (
        "crates/grey-enforcement/src/journal/store.rs",
        "the journal: ordinary files in the state directory",
    ),
    (
        "crates/grey-enforcement/src/systemd/drop_in.rs",
        "systemd's own runtime drop-ins: ordinary files",
    ),
    (
        "crates/grey-telemetry/src/history/directory.rs",
        "the lock of history: an ordinary file in a directory of its own",
    ),
    (
        "crates/grey-telemetry/src/history/dump.rs",
        "dumps beside history: ordinary files in its directory",
    ),
    (
        "crates/grey-telemetry/src/history/writer.rs",
        "history: ordinary files in a directory of its own",
    ),
    (
        "crates/greyctl/src/compare/file.rs",
        "a saved diagnosis: a new ordinary file, where the user says",
    ),
];

/// Ways to open a file for writing.
const TOKENS: &[&str] = &[
    "OpenOptions",
    "File::create",
    "File::options",
    "fs::write",
    "fs::copy",
    "OFlags::WRONLY",
    "OFlags::RDWR",
    "OFlags::CREATE",
];

/// The crate that makes fake trees for tests writes nothing else than files.
const FAKE: &str = "crates/grey-fake-kernel/";

/// Files that open for writing and are not in the list, and entries of the list
/// that are not true any more.
pub(super) fn check(root: &Path, allowed: &[Writer]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut writers = Vec::new();
    for path in rust_files(&root.join("crates")) {
        let name = relative(root, &path);
        if is_test_file(&path) || name.starts_with(FAKE) {
            continue;
        }
        let text = text(&path);
        let Some((number, token)) = first_token(production(&text)) else {
            continue;
        };
        if !allowed.iter().any(|(file, _)| *file == name) {
            problems.push(format!(
                "{name}:{number}: `{token}` opens for writing; see xtask/src/tidy/writers.rs"
            ));
        }
        writers.push(name);
    }
    for (file, reason) in allowed {
        if !writers.iter().any(|writer| writer == file) {
            problems.push(format!(
                "{file}: opens nothing for writing any more, but is allowed to ({reason})"
            ));
        }
    }
    problems
}

/// The first line that opens for writing, outside of comments.
fn first_token(text: &str) -> Option<(usize, &'static str)> {
    (1..).zip(text.lines()).find_map(|(number, line)| {
        let code = line.split("//").next().unwrap_or("");
        let is_import = code.trim_start().starts_with("use ");
        let token = TOKENS.iter().find(|token| code.contains(**token))?;
        (!is_import).then_some((number, *token))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const ONE: &[Writer] = &[("crates/a/src/writer.rs", "it is the one")];

    fn problems(files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        check(root.path(), ONE)
    }

    const THE_ONE: (&str, &str) = ("crates/a/src/writer.rs", "//! W.\nopen(OFlags::WRONLY)\n");

    #[test]
    fn a_second_writer_is_a_problem_wherever_it_is() {
        for line in [
            "fs::write(a, b)",
            "File::create(a)",
            "OFlags::RDWR",
            "OpenOptions::new()",
        ] {
            let found = problems(&[THE_ONE, ("crates/b/src/b.rs", &format!("//! B.\n{line}\n"))]);
            assert_eq!(found.len(), 1, "{line}");
            assert!(found[0].starts_with("crates/b/src/b.rs:2"), "{found:?}");
        }
    }

    #[test]
    fn tests_comments_and_tools_may_write() {
        let found = problems(&[
            THE_ONE,
            (
                "crates/b/src/b.rs",
                "//! Not fs::write.\n#[cfg(test)]\nmod tests {\n    fs::write(a, b)\n}\n",
            ),
            ("crates/b/tests/b.rs", "fs::write(a, b)"),
            ("bench/src/main.rs", "fs::write(a, b)"),
            ("crates/grey-fake-kernel/src/lib.rs", "fs::write(a, b)"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn an_entry_that_is_not_true_any_more_is_a_problem() {
        assert_eq!(problems(&[("crates/a/src/writer.rs", "//! W.\n")]).len(), 1);
    }
}
