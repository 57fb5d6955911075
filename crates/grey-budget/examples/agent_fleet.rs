//! Three agents on one machine, each with a limit of its own that must fit
//! together. Each remembers conversations; with the library it keeps what fits
//! and forgets the least dear, with `--unprotected` it remembers all and is
//! ended by its limit.
//!
//! ```text
//! cargo run --release -p grey-budget --example agent_fleet
//! cargo run --release -p grey-budget --example agent_fleet -- --unprotected
//! ```

#![expect(clippy::print_stdout, reason = "an example says what it does")]

mod program;

use std::collections::HashMap;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use grey_budget::cache::{CacheBuilder, EntryOptions};
use grey_budget::limits::{Gigabytes, LimitKind, limited_command, validate_total_allocations};
use grey_budget::{
    Budget, Bytes, Controller, ControllerSettings, Priority, ProcessSource, Reclaimer,
};
use program::{Anything, Numbers, Options, report, text, told};

/// The agents, and how much each may have.
const FLEET: [(&str, Bytes); 3] = [
    ("subject", Bytes::from_mib(64)),
    ("observer", Bytes::from_mib(80)),
    ("god", Bytes::from_mib(96)),
];

fn main() -> ExitCode {
    told(run().map(|()| ExitCode::SUCCESS))
}

fn run() -> Result<(), Anything> {
    let options = Options::read(2_000)?;
    match (&options.instance, options.unprotected) {
        (None, _) => fleet(&options),
        (Some(name), false) => remember(name, &options),
        (Some(name), true) => remember_all(name, &options),
    }
}

/// Checks that all fit, starts each under its limit, and tells how each ended.
fn fleet(options: &Options) -> Result<(), Anything> {
    let limits = FLEET.map(|(_, limit)| limit);
    if let Some(warning) = validate_total_allocations(&limits)? {
        println!("warning: {warning}");
    }
    let this = std::env::current_exe()?;
    let mut children = Vec::new();
    for (name, limit) in FLEET {
        let mut command: Command = limited_command(&this, limit, LimitKind::Data)?;
        command
            .args(["--instance", name, "--items", &options.items.to_string()])
            // Room for the allocator, stacks and what is in flight.
            .args(["--budget", &limit.scale(60, 100).get().to_string()]);
        if options.unprotected {
            command.arg("--unprotected");
        }
        println!("{name}: at most {}", Gigabytes(limit));
        children.push((name, command.spawn()?));
    }
    let mut lost = 0;
    for (name, mut child) in children {
        let status = child.wait()?;
        if !status.success() {
            println!("{name}: {status}");
            lost += 1;
        }
    }
    if lost > 0 {
        return Err(format!("{lost} of {} agents are lost", FLEET.len()).into());
    }
    Ok(())
}

/// A conversation of 16 to 112 KiB.
fn conversation(number: u64) -> Vec<u8> {
    let length = 16_384 + Numbers(number.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1).below(98_304);
    text(number, usize::try_from(length).unwrap_or(16_384))
}

fn remember(name: &str, options: &Options) -> Result<(), Anything> {
    let budget = Budget::new(options.budget)?;
    let source = Arc::new(ProcessSource::new()?);
    let controller = Controller::new(budget.clone(), source, ControllerSettings::default());
    let memory = CacheBuilder::new(&budget, "conversations", options.budget.scale(70, 100)).build(
        |_: &u64, value: &Arc<[u8]>| Bytes(u64::try_from(value.len()).unwrap_or(u64::MAX)),
    )?;
    let memory = Arc::new(memory);
    let reclaimer: Arc<dyn Reclaimer> =
        Arc::<grey_budget::cache::Cache<u64, Arc<[u8]>>>::clone(&memory);
    let _registration = controller.register(reclaimer);
    let running = controller.start()?;
    let mut remembered = 0;
    for number in 0..options.items {
        let value: Arc<[u8]> = conversation(number).into();
        let priority = if number % 10 == 0 {
            Priority::High
        } else {
            Priority::Low
        };
        // Refused while memory is short: the agent goes on without it.
        let _ = memory.insert_with(number, value, EntryOptions::new().priority(priority));
        if let Some(value) = memory.get(&(number / 2)) {
            remembered += 1;
            // Every hundredth is compared: making one anew takes longer than all else.
            if number % 100 == 0 && *value != *conversation(number / 2) {
                return Err("an agent remembers what never was".into());
            }
        }
    }
    running.stop();
    report(
        name,
        &[
            ("conversations", options.items),
            ("remembered", remembered),
            ("kept_bytes", memory.weight().get()),
        ],
    )
}

fn remember_all(name: &str, options: &Options) -> Result<(), Anything> {
    let mut memory = HashMap::new();
    for number in 0..options.items {
        memory.insert(number, conversation(number));
    }
    report(name, &[("conversations", u64::try_from(memory.len())?)])
}
