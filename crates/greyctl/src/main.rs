//! The `greyctl` command: parse, run one command, end with its exit code.
//!
//! Does nothing else itself; each command is a module.

mod cli;
mod cold;
mod compare;
mod completions;
mod count;
mod diagnose;
mod doctor;
mod duration;
mod enforce;
mod enforcer;
mod environment;
mod error_document;
mod exit_code;
mod failure;
mod history;
mod interrupt;
mod journal;
mod loss;
mod manual;
mod moment;
mod no_option;
mod output;
mod parse;
mod recommend;
mod rollback;
mod roots;
mod run;
#[cfg(test)]
mod schema;
mod scope;

mod table;
mod target;
mod usage_hint;
mod watch;
mod why;

fn main() -> std::process::ExitCode {
    run::run(std::env::args_os())
}
