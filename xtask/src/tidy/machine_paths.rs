//! Nothing that is committed names a folder of the machine it was written on.

use std::path::Path;

use super::relative;
use super::sources::{files, text};

/// The folders that would give this machine away.
pub(super) fn of_this_machine(root: &Path) -> Vec<String> {
    let mut paths = vec![root.display().to_string()];
    if let Ok(home) = std::env::var("HOME") {
        paths.push(format!("{home}/.cargo"));
        // On a server everybody's home is the same, and says nothing.
        if home.starts_with("/home/") {
            paths.push(home);
        }
    }
    // `/` or `/src` would be found in any text.
    paths.retain(|path| path.matches('/').count() > 1);
    paths
}

/// Files that hold one of these paths.
pub(super) fn check(root: &Path, paths: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files(root) {
        let text = text(&file);
        for path in paths {
            if let Some(number) = text.lines().position(|line| line.contains(path.as_str())) {
                let (name, number) = (relative(root, &file), number + 1);
                problems.push(format!(
                    "{name}:{number}: names a folder of this machine, `{path}`"
                ));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_path_of_this_machine_is_found_in_any_file() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.md"), "x\nsee /somewhere/else/a\n").unwrap();
        let found = check(root.path(), &["/somewhere/else".to_owned()]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("a.md:2"), "{found:?}");
        assert!(check(root.path(), &["/nowhere/else".to_owned()]).is_empty());
    }

    #[test]
    fn a_path_that_any_text_could_hold_is_not_looked_for() {
        assert!(!of_this_machine(Path::new("/src")).contains(&"/src".to_owned()));
        assert!(of_this_machine(Path::new("/a/b")).contains(&"/a/b".to_owned()));
    }
}
