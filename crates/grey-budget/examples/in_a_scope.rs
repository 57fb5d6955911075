//! Runs a program in a control group of its own, with a limit: the recommended
//! mode, which systemd makes and takes away again. Without a program it tells
//! what bounds this very process, and the mode that fits the machine.
//!
//! ```text
//! cargo run -p grey-budget --example in_a_scope -- 64M
//! cargo run -p grey-budget --example in_a_scope -- 64M target/release/examples/index_server --budget 32M
//! ```
//!
//! It ends as the program does. Never writes to a control group itself.

#![expect(clippy::print_stdout, reason = "an example says what it found")]

mod program;

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitCode;

use grey_budget::limits::{recommend, scope_command};
use grey_budget::{Bytes, ProcessSource};
use program::{Anything, told};

/// What a shell adds to the number of the signal that ended a program.
const SIGNAL_BASE: i32 = 128;

fn main() -> ExitCode {
    told(run())
}

fn run() -> Result<ExitCode, Anything> {
    let mut arguments = std::env::args_os().skip(1);
    let limit: Bytes = arguments
        .next()
        .and_then(|text| text.into_string().ok())
        .ok_or("usage: in_a_scope LIMIT [PROGRAM [ARGUMENT]...]")?
        .parse()?;
    let Some(program) = arguments.next() else {
        println!("{}", recommend(limit));
        match ProcessSource::new()?.bounds()?.strictest() {
            Some((kind, bytes)) => println!("bound here: {} of {} bytes", kind.name(), bytes.get()),
            None => println!("bound here: nothing"),
        }
        return Ok(ExitCode::SUCCESS);
    };
    let status = scope_command(program, limit).args(arguments).status()?;
    let code = status
        .code()
        .or_else(|| Some(SIGNAL_BASE + status.signal()?))
        .unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code)?))
}
