//! Taste as a program: what no compiler checks, one module for each rule.
//!
//! Never changes a file.

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory;

use crate::kernel_cases::built;
use crate::program;
use crate::talk;
use crate::workspace::Workspace;
use crate::{Arguments, FAILED, PASSED};

mod edges;
mod files;
mod kernel_table;
mod machine_paths;
mod readme;
mod sources;
mod writers;

/// Says every problem, and whether there is one.
pub(crate) fn report(workspace: &Workspace) -> u8 {
    let problems = problems(workspace);
    for problem in &problems {
        talk::result(problem);
    }
    talk::step(&format!("tidy: {} problems", problems.len()));
    if problems.is_empty() { PASSED } else { FAILED }
}

/// Every problem, one line each.
pub(crate) fn problems(workspace: &Workspace) -> Vec<String> {
    let root = workspace.root();
    let mut problems = files::check(root);
    problems.extend(writers::check(root, writers::ALLOWED));
    problems.extend(kernel_table::check(root));
    problems.extend(machine_paths::check(
        root,
        &machine_paths::of_this_machine(root),
    ));
    let mut cargo = workspace.cargo(["metadata", "--no-deps", "--format-version", "1"]);
    match program::output(&mut cargo) {
        Ok(metadata) => {
            problems.extend(edges::check(&metadata, edges::ALLOWED));
            let commands = readme::Commands {
                xtask: Arguments::command(),
                greyctl: greyctl_help(workspace),
                programs: edges::programs(&metadata),
            };
            match fs::read_to_string(root.join("README.md")) {
                Ok(text) => problems.extend(readme::check(&text, &commands)),
                Err(error) => problems.push(format!("README.md: {error}")),
            }
        }
        Err(error) => problems.push(talk::chain(&error)),
    }
    problems
}

/// What `greyctl` says of its own subcommands, so that the README is compared
/// with the program and not with its source.
fn greyctl_help(workspace: &Workspace) -> readme::Help {
    let Some(path) = built(workspace, "greyctl", "greyctl") else {
        return readme::Help::default();
    };
    let help = |arguments: &[&str]| {
        program::output(Command::new(&path).args(arguments)).unwrap_or_default()
    };
    readme::Help::of(&help(&["--help"]), |subcommand| {
        help(&[subcommand, "--help"])
    })
}

/// A path below the root, as it is written in a problem.
fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}
