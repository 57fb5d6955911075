//! `cargo xtask`: everything that is done with this repository by a person and
//! by continuous integration, with the same words.
//!
//! Never a part of the product, and never needed to build it.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

mod bench_budget;
mod guest_command;
mod guests;
mod initramfs;
mod kernel_cases;
mod kernels;
mod mirror;
mod packages;
mod pins;
mod program;
mod qemu;
mod repin;
mod suite;
mod systemd_root;
mod talk;
mod tally;
mod tidy;
mod verdicts;
mod workspace;

use workspace::Workspace;

/// Everything passed.
const PASSED: u8 = 0;
/// Something failed.
const FAILED: u8 = 1;
/// A tool broke: a guest gave no verdict, a download did not come.
const BROKEN: u8 = 70;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Project automation",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Set up what is missing, then run every check and every test.
    Test(TestArguments),
    /// Check what no compiler checks: structure, documents, taste.
    Tidy,
    /// Download and unpack the pinned kernels.
    Kernels {
        /// Pin the newest kernel of each suite instead.
        #[arg(long)]
        repin: bool,
    },
    /// Boot one guest, for single cases or a command.
    Guest(GuestArguments),
    /// Run a benchmark, built for release: `cargo xtask bench snapshot`,
    /// `cargo xtask bench page-out`, `cargo xtask bench recorder`.
    Bench {
        /// What the benchmark program is given.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct TestArguments {
    /// Leave out the kernel cases.
    #[arg(long)]
    fast: bool,
    /// Only the cases of these guests: 5.10, 6.1, 6.12, systemd. Repeatable.
    #[arg(long = "kernel", value_name = "NAME")]
    kernels: Vec<String>,
    /// Only these kernel cases. Repeatable.
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Only the kernel cases: no format, lint, tidy or unit tests.
    #[arg(long, conflicts_with = "fast")]
    only_kernels: bool,
}

#[derive(Debug, Args)]
struct GuestArguments {
    /// 5.10, 6.1, 6.12 or systemd.
    #[arg(long, value_name = "NAME")]
    kernel: String,
    /// Run these cases; all of the guest's when none is named. Repeatable.
    #[arg(long = "case", value_name = "NAME", conflicts_with = "shell_command")]
    cases: Vec<String>,
    /// Run this shell command instead, and print what it prints.
    #[arg(long, value_name = "COMMAND")]
    shell_command: Option<String>,
    /// Print the guest's console in any case.
    #[arg(long)]
    keep_log: bool,
}

fn main() -> ExitCode {
    let workspace = Workspace::find();
    let code = match Arguments::parse().order {
        Order::Test(arguments) => suite::run(&workspace, &arguments),
        Order::Tidy => tidy::report(&workspace),
        Order::Kernels { repin } => repin::kernels(&workspace, repin),
        Order::Guest(arguments) => guest_command::run(&workspace, &arguments),
        Order::Bench { arguments } => bench(&workspace, &arguments),
    };
    ExitCode::from(code)
}

/// Says what went wrong, and that it was a tool.
fn broken(error: &dyn std::error::Error) -> u8 {
    talk::line(&format!("error: {}", talk::chain(error)));
    BROKEN
}

fn bench(workspace: &Workspace, arguments: &[String]) -> u8 {
    if let [first, rest @ ..] = arguments
        && first == "budget"
    {
        return bench_budget::run(workspace, rest);
    }
    let runs_greyctl = |name: &String| name == "page-out" || name == "recorder";
    if arguments.first().is_some_and(runs_greyctl) {
        // It is measured as a person runs it.
        let mut build = workspace.cargo(["build", "--quiet", "--release", "--bin", "greyctl"]);
        match build.status() {
            Ok(status) if status.success() => {}
            Ok(_) => return FAILED,
            Err(error) => return broken(&error),
        }
    }
    let mut command = workspace.cargo(["run", "--quiet", "--release", "--package", "bench", "--"]);
    command.args(arguments);
    match command.status() {
        Ok(status) if status.success() => PASSED,
        Ok(_) => FAILED,
        Err(error) => broken(&error),
    }
}
