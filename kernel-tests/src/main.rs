//! `kernel-cases`: the program that `cargo xtask` puts into a guest, together
//! with the small programs it starts there (a single case, a memory hog).
//!
//! Never meant for a person's machine: `run` refuses to work outside a guest
//! that `cargo xtask` has booted.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use kernel_tests::case::{Failure, GuestName};
use kernel_tests::{cases, harness, hog_process, tracer};

#[derive(Debug, Parser)]
#[command(about = "Cases that run as root inside booted guests")]
struct Arguments {
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// List every case and its guests, as JSON.
    List,
    /// Run the cases of this guest.
    Run {
        /// Which guest this is.
        #[arg(long, value_enum)]
        guest: GuestName,
        /// Where the verdicts go: a serial port or a file.
        #[arg(long)]
        verdicts: PathBuf,
        /// Only these cases.
        #[arg(long = "case")]
        cases: Vec<String>,
    },
    /// Run one case in this process (started by `run`).
    #[command(hide = true)]
    Case {
        name: String,
        #[arg(long, value_enum)]
        guest: GuestName,
        #[arg(long)]
        directory: PathBuf,
    },
    /// Hold memory (started by a case).
    #[command(hide = true)]
    Hog(hog_process::HogArguments),
    /// Become a program under the tracer (started by a case).
    #[command(hide = true)]
    Traced {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match obey(Arguments::parse().order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to be told, should this fail.
            let _ = writeln!(io::stderr(), "error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn obey(order: Order) -> Result<(), Failure> {
    match order {
        Order::List => {
            let listed: Vec<_> = cases::all()
                .map(|case| serde_json::json!({"case": case.name, "guests": case.guests}))
                .collect();
            writeln!(io::stdout(), "{}", serde_json::to_string(&listed)?)?;
            Ok(())
        }
        Order::Run {
            guest,
            verdicts,
            cases,
        } => {
            if !Path::new("/etc/grey-guest").exists() {
                return Err(Failure::new(
                    "this is no guest that `cargo xtask` has booted: the cases change kernel settings",
                ));
            }
            harness::run_all(guest, &cases, &verdicts)
        }
        Order::Case {
            name,
            guest,
            directory,
        } => harness::run_in_this_process(guest, &name, &directory),
        Order::Hog(arguments) => hog_process::hold(&arguments),
        Order::Traced { command } => {
            tracer::allow_tracing()?;
            let (program, arguments) = command
                .split_first()
                .ok_or_else(|| Failure::new("no program to trace was given"))?;
            Err(Command::new(program).args(arguments).exec().into())
        }
    }
}
