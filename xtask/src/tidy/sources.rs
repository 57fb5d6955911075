//! Which files there are, and which of their lines are production code.
//!
//! Never looks into what git ignores.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold nothing that is committed, wherever they are.
const IGNORED: &[&str] = &[".git", ".cache", "artifacts", "corpus", "node_modules"];

/// Whether this folder below `above` holds nothing that is committed. Cargo builds
/// beside the manifest; a module may have the same name.
fn is_ignored(above: &Path, name: &OsStr) -> bool {
    let is_built = name == "target" && above.join("Cargo.toml").is_file();
    is_built || IGNORED.iter().any(|ignored| name == *ignored)
}

/// Every file below `root` that could be committed, sorted.
pub(super) fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let name = entry.file_name();
            if kind.is_dir() && !is_ignored(&folder, &name) {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Every Rust file below `root`.
pub(super) fn rust_files(root: &Path) -> Vec<PathBuf> {
    let mut found = files(root);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    found
}

/// A file's text; nothing when it is not text.
pub(super) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Is all of the file tests? By its name, or because the module above it
/// declares it so.
pub(super) fn is_test_file(path: &Path) -> bool {
    let in_tests = path.components().any(|part| part.as_os_str() == "tests");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    in_tests || name == "tests.rs" || name.ends_with("_tests.rs") || is_declared_as_test(path)
}

/// Does the file that declares this module say `#[cfg(test)]` before it?
fn is_declared_as_test(path: &Path) -> bool {
    let (Some(folder), Some(module)) = (path.parent(), path.file_stem()) else {
        return false;
    };
    let declaration = format!("mod {};", module.to_string_lossy());
    ["mod.rs", "lib.rs", "main.rs"].iter().any(|above| {
        let text = text(&folder.join(above));
        let lines: Vec<&str> = text.lines().collect();
        lines
            .windows(2)
            .any(|pair| pair[0] == "#[cfg(test)]" && pair[1].ends_with(&declaration))
    })
}

/// A text without the test module at its end.
pub(super) fn production(text: &str) -> &str {
    let marker = "#[cfg(test)]\nmod ";
    let mut from = 0;
    while let Some(at) = text[from..].find(marker).map(|at| at + from) {
        let at_line_start = at == 0 || text[..at].ends_with('\n');
        let line = text[at + marker.len()..].lines().next().unwrap_or("");
        // `mod tests;` names another file, and code may follow it.
        if at_line_start && line.ends_with('{') {
            return &text[..at];
        }
        from = at + marker.len();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_test_module_at_the_end_is_cut_off() {
        let text = "//! x\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        assert_eq!(production(text), "//! x\nfn a() {}\n\n");
        let text = "#[cfg(test)]\nmod b_tests;\nfn a() {}\n";
        assert_eq!(production(text), text);
    }

    #[test]
    fn what_cargo_builds_is_passed_over_and_a_module_of_that_name_is_not() {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "Cargo.toml",
            "target/built.rs",
            "src/target/mod.rs",
            ".git/x.rs",
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(
            rust_files(root.path()),
            [root.path().join("src/target/mod.rs")]
        );
    }

    #[test]
    fn a_test_file_is_known_by_its_name_or_folder() {
        for path in ["crates/x/tests/a.rs", "src/scan_tests.rs", "src/tests.rs"] {
            assert!(is_test_file(Path::new(path)), "{path}");
        }
        assert!(!is_test_file(Path::new("kernel-tests/src/guest.rs")));
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("mod.rs"),
            "mod a;\n#[cfg(test)]\npub(crate) mod b;\n",
        )
        .unwrap();
        assert!(is_test_file(&folder.path().join("b.rs")));
        assert!(!is_test_file(&folder.path().join("a.rs")));
    }
}
