//! KERNELS.md against the code: its rows name Rust files that exist, and every
//! Rust file that reads a kernel file has its row.
//!
//! A reader is known by the first line of its documentation, which names the
//! kernel file it reads.

use std::path::Path;

use super::relative;
use super::sources::{is_test_file, rust_files, text};

/// The title of the column with the Rust files.
const COLUMN: &str = "Rust file";
/// Where the readers are.
const READERS: &str = "crates/grey-telemetry/src";
/// A Rust file may be named from any of these.
const NAMED_FROM: &[&str] = &["", "crates", READERS, "crates/grey-enforcement/src"];

/// Rows without a file, and readers without a row.
pub(super) fn check(root: &Path) -> Vec<String> {
    let table = text(&root.join("KERNELS.md"));
    if table.is_empty() {
        return vec!["KERNELS.md: missing".to_owned()];
    }
    let named = named_files(&table);
    if named.is_empty() {
        return vec![format!(
            "KERNELS.md: no table has a column called `{COLUMN}`"
        )];
    }
    let mut problems = Vec::new();
    let mut existing = Vec::new();
    for (number, name) in named {
        let found = NAMED_FROM
            .iter()
            .map(|start| root.join(start).join(&name))
            .find(|path| path.is_file());
        match found {
            Some(path) => existing.push(path),
            None => problems.push(format!("KERNELS.md:{number}: there is no file `{name}`")),
        }
    }
    for path in rust_files(&root.join(READERS)) {
        let content = text(&path);
        let kernel_file = read_kernel_file(&content);
        let is_module = path
            .file_name()
            .is_some_and(|name| name == "mod.rs" || name == "lib.rs");
        if let Some(kernel_file) = kernel_file
            && !is_module
            && !is_test_file(&path)
            && !existing.contains(&path)
        {
            problems.push(format!(
                "{}: reads `{kernel_file}` and has no row in KERNELS.md",
                relative(root, &path)
            ));
        }
    }
    problems
}

/// The Rust files that the tables name, with the number of the line.
fn named_files(markdown: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut column = None;
    for (number, line) in (1..).zip(markdown.lines()) {
        if !line.trim_start().starts_with('|') {
            column = None;
            continue;
        }
        let cells: Vec<&str> = line
            .trim()
            .trim_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        match column {
            None => column = cells.iter().position(|cell| *cell == COLUMN),
            Some(index) => {
                let cell = cells.get(index).copied().unwrap_or("");
                let files = quoted(cell).filter(|text| text.ends_with(".rs"));
                found.extend(files.map(|file| (number, file.to_owned())));
            }
        }
    }
    found
}

/// The kernel file that the first line of a Rust file says it reads.
fn read_kernel_file(text: &str) -> Option<&str> {
    let first = text.lines().next()?.strip_prefix("//!")?;
    quoted(first).find(|name| {
        let is_path = name.starts_with("/proc/") || name.starts_with("/sys/");
        let in_cgroup = name.starts_with("memory.") || name.starts_with("cgroup.");
        is_path || in_cgroup && !name.contains('*')
    })
}

/// The parts of a line between backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const TABLE: &str = "# Kernels\n\n| Kernel file | Since | Rust file |\n|---|---|---|\n| `/proc/meminfo` | 2.0 | `proc/meminfo.rs` |\n";

    fn problems(table: Option<&str>, files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(READERS).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        if let Some(table) = table {
            fs::write(root.path().join("KERNELS.md"), table).unwrap();
        }
        check(root.path())
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo.rs", "//! `/proc/meminfo`: the account.\n");

    #[test]
    fn a_table_that_is_true_is_no_problem() {
        let pure = ("proc/kib.rs", "//! Lines with `kB`.\n");
        assert!(problems(Some(TABLE), &[MEMINFO, pure]).is_empty());
    }

    #[test]
    fn a_row_without_its_file_is_a_problem() {
        assert!(problems(Some(TABLE), &[])[0].starts_with("KERNELS.md:5"));
    }

    #[test]
    fn a_reader_without_its_row_is_a_problem() {
        let swaps = ("proc/swaps.rs", "//! `/proc/swaps`: devices.\n");
        let found = problems(Some(TABLE), &[MEMINFO, swaps]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("proc/swaps.rs"), "{found:?}");
    }

    #[test]
    fn no_table_is_a_problem() {
        assert_eq!(problems(None, &[MEMINFO]), ["KERNELS.md: missing"]);
        assert_eq!(problems(Some("# Kernels\n"), &[MEMINFO]).len(), 1);
    }
}
