//! The commands in README.md exist, with the options that they are shown with.
//!
//! Never runs them.

use std::collections::BTreeMap;

/// What there is to compare with.
#[derive(Debug)]
pub(super) struct Commands {
    /// Ourselves.
    pub(super) xtask: clap::Command,
    /// What greyctl says of itself.
    pub(super) greyctl: Help,
    /// The programs that the workspace builds, and its examples.
    pub(super) programs: Vec<String>,
}

/// The subcommands of a program, each with its help.
#[derive(Debug, Default)]
pub(super) struct Help {
    general: String,
    subcommands: BTreeMap<String, String>,
}

/// The commands of cargo itself that a README may use.
const CARGO: &[&str] = &[
    "add", "bench", "build", "check", "clippy", "doc", "fmt", "fuzz", "install", "run", "test",
    "xtask",
];

impl Help {
    /// Reads the names under `Commands:`, and asks for the help of each.
    pub(super) fn of(general: &str, help_of: impl Fn(&str) -> String) -> Self {
        let subcommands = general
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| line.starts_with("  "))
            // A description that goes on in the next line is indented further.
            .filter(|line| !line.starts_with("   "))
            .filter_map(|line| line.split_ascii_whitespace().next())
            .map(|name| (name.to_owned(), help_of(name)))
            .collect();
        Self {
            general: general.to_owned(),
            subcommands,
        }
    }
}

/// Commands in fenced blocks that do not exist.
pub(super) fn check(markdown: &str, commands: &Commands) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, words) in command_lines(markdown) {
        if let Some(problem) = problem_with(&words, commands) {
            problems.push(format!(
                "README.md:{number}: `{}`: {problem}",
                words.join(" ")
            ));
        }
    }
    problems
}

/// The lines of fenced blocks that call cargo or greyctl, as words.
fn command_lines(markdown: &str) -> Vec<(usize, Vec<&str>)> {
    let mut found = Vec::new();
    let mut in_block = false;
    for (number, line) in (1..).zip(markdown.lines()) {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        let line = line
            .trim()
            .trim_start_matches("$ ")
            .trim_start_matches("sudo ");
        let code = line.split(" #").next().unwrap_or("");
        let words: Vec<&str> = code
            .split_ascii_whitespace()
            .take_while(|word| !["|", ">", "&&", ";", "\\"].contains(word))
            .collect();
        if in_block && matches!(words.first(), Some(&"cargo" | &"greyctl")) {
            found.push((number, words));
        }
    }
    found
}

fn problem_with(words: &[&str], commands: &Commands) -> Option<String> {
    match words {
        ["greyctl", rest @ ..] => problem_with_greyctl(rest, &commands.greyctl),
        ["cargo", "xtask", rest @ ..] => problem_with_xtask(rest, &commands.xtask),
        ["cargo", "run", rest @ ..] => {
            let (options, arguments) = match rest.iter().position(|word| *word == "--") {
                Some(at) => (&rest[..at], &rest[at + 1..]),
                None => (rest, &[][..]),
            };
            let after = |names: &[&str]| {
                let at = options.iter().position(|word| names.contains(word))?;
                options.get(at + 1)
            };
            // A package says where an example is, and is itself the program
            // where none is named.
            let program = after(&["--bin", "--example"]).or_else(|| after(&["-p", "--package"]))?;
            if !commands.programs.iter().any(|known| known == program) {
                return Some(format!("there is no program called {program}"));
            }
            (*program == "greyctl").then(|| problem_with_greyctl(arguments, &commands.greyctl))?
        }
        ["cargo", subcommand, ..] if !CARGO.contains(subcommand) => {
            Some(format!("cargo has no command {subcommand}"))
        }
        _ => None,
    }
}

fn problem_with_xtask(words: &[&str], xtask: &clap::Command) -> Option<String> {
    let name = words.first()?;
    let Some(command) = xtask
        .get_subcommands()
        .find(|command| command.get_name() == *name)
    else {
        return Some(format!("xtask has no command {name}"));
    };
    options(&words[1..])
        .find(|option| {
            !command
                .get_arguments()
                .any(|known| known.get_long() == Some(option))
        })
        .map(|option| format!("xtask {name} has no option --{option}"))
}

fn problem_with_greyctl(words: &[&str], greyctl: &Help) -> Option<String> {
    if greyctl.subcommands.is_empty() {
        return Some("greyctl could not be asked for its commands".to_owned());
    }
    // Options before the subcommand, and their values, are skipped.
    let name = words
        .iter()
        .find(|word| greyctl.subcommands.contains_key(**word));
    let Some(name) = name else {
        let asked = words.iter().find(|word| !word.starts_with('-'))?;
        return Some(format!("greyctl has no command {asked}"));
    };
    let help = greyctl.subcommands.get(*name)?;
    options(words)
        .find(|option| {
            let option = format!("--{option}");
            !has_word(help, &option) && !has_word(&greyctl.general, &option)
        })
        .map(|option| format!("greyctl {name} has no option --{option}"))
}

/// The long options before a `--`, without their values.
fn options<'a>(words: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    words
        .iter()
        .take_while(|word| **word != "--")
        .filter_map(|word| word.strip_prefix("--"))
        .map(|option| option.split('=').next().unwrap_or(option))
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-')
        .any(|found| found == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    const HELP: &str = "Memory\n\nUsage: greyctl\n\nCommands:\n  memory-diagnose  Says where the memory\n                   is\n  rollback         Undoes\n\nOptions:\n      --state-dir <DIR>\n";

    fn problems(line: &str) -> Vec<String> {
        let commands = Commands {
            xtask: crate::Arguments::command(),
            greyctl: Help::of(HELP, |name| format!("Usage: {name}\n  --json\n")),
            programs: vec!["greyctl".to_owned(), "index_server".to_owned()],
        };
        check(&format!("# Title\n\n```sh\n{line}\n```\n"), &commands)
    }

    #[test]
    fn commands_that_exist_are_no_problem() {
        for line in [
            "cargo run --release --bin greyctl -- memory-diagnose --json",
            "$ sudo greyctl --state-dir /x rollback  # undoes --everything",
            "cargo run -p grey-budget --example index_server -- --limit 192M",
            "cargo xtask test --fast",
            "cargo build --release",
            "free -h --nonsense",
        ] {
            assert!(problems(line).is_empty(), "{line}: {:?}", problems(line));
        }
    }

    #[test]
    fn a_command_or_an_option_that_does_not_exist_is_a_problem() {
        for line in [
            "greyctl memory-diagnoze",
            "greyctl is",
            "greyctl rollback --nonsense",
            "cargo run --bin greyd",
            "cargo run -p greyctl --example index_servant",
            "cargo run --bin greyctl -- memory-enforze",
            "cargo xtask tests",
            "cargo xtask test --fastest",
            "cargo tast",
        ] {
            assert_eq!(problems(line).len(), 1, "{line}");
        }
    }

    #[test]
    fn text_outside_of_a_block_is_no_command() {
        let commands = Commands {
            xtask: crate::Arguments::command(),
            greyctl: Help::default(),
            programs: Vec::new(),
        };
        assert!(check("greyctl is a program\n", &commands).is_empty());
    }
}
