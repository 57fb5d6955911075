//! Every Rust file says what it is for before anything else, and is short
//! enough to be read at one sitting.

use std::path::Path;

use super::relative;
use super::sources::{is_test_file, production, rust_files, text};

/// Lines of production code that a file may have.
const LINES_AT_MOST: usize = 500;

/// Files without `//!` at the top, and files that are too long.
pub(super) fn check(root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for path in rust_files(root) {
        let text = text(&path);
        let name = relative(root, &path);
        if !text.starts_with("//! ") {
            problems.push(format!("{name}: does not open with `//!`: what is it for?"));
        }
        let lines = production(&text).lines().count();
        if lines > LINES_AT_MOST && !is_test_file(&path) {
            problems.push(format!(
                "{name}: {lines} lines of production code, {LINES_AT_MOST} at most"
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn problems(name: &str, text: &str) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        // What cargo builds lies beside it.
        fs::write(root.path().join("Cargo.toml"), "").unwrap();
        check(root.path())
    }

    #[test]
    fn a_file_without_a_word_about_itself_is_a_problem() {
        assert_eq!(problems("src/a.rs", "fn a() {}\n").len(), 1);
        assert!(problems("src/a.rs", "//! A.\nfn a() {}\n").is_empty());
        assert!(problems("target/a.rs", "fn a() {}\n").is_empty());
    }

    #[test]
    fn a_file_is_too_long_by_its_production_code_alone() {
        let long = "//! A.\n".to_owned() + &"fn a() {}\n".repeat(LINES_AT_MOST);
        assert_eq!(problems("src/a.rs", &long).len(), 1);
        assert!(problems("tests/a.rs", &long).is_empty());
        let tested = "//! A.\n#[cfg(test)]\nmod tests {\n".to_owned()
            + &"fn a() {}\n".repeat(LINES_AT_MOST)
            + "}\n";
        assert!(problems("src/a.rs", &tested).is_empty());
    }
}
