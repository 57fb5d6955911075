//! What is remembered of each process between looks: everything beside the
//! numbers that are read each time.
//!
//! Never joins two programs: an exec begins another life, under another name.

use std::collections::HashMap;

use grey_model::{ProcessId, ProcessMemory};
use grey_telemetry::process::{ProcessReading, Program, Statm};
use grey_telemetry::user::UserNames;

/// One process.
#[derive(Debug)]
struct Known {
    memory: ProcessMemory,
    program: Program,
    /// How often it did exec since it is known.
    execs: u64,
    /// Its memory when it was read.
    statm: Statm,
    seen: u64,
}

/// All processes that are there, by their serial number.
#[derive(Debug)]
pub(super) struct KnownProcesses {
    known: HashMap<u64, Known>,
    names: UserNames,
    look: u64,
}

impl KnownProcesses {
    /// None yet; users are called by `names`.
    pub(super) fn new(names: UserNames) -> Self {
        Self {
            known: HashMap::new(),
            names,
            look: 0,
        }
    }

    /// A new look begins.
    pub(super) fn begin(&mut self) {
        self.look += 1;
    }

    /// Whether the memory of a process is what it was when it was read: then
    /// neither its swap nor its program can have changed much.
    pub(super) fn stands_still(&self, serial: u64, statm: Statm) -> bool {
        self.known
            .get(&serial)
            .is_some_and(|known| known.statm == statm)
    }

    /// What is remembered of a process, and the mark of its life.
    pub(super) fn recall(&mut self, serial: u64) -> Option<(ProcessMemory, u64)> {
        let known = self.known.get_mut(&serial)?;
        known.seen = self.look;
        Some((known.memory.clone(), known.life()))
    }

    /// Remembers what was read now; the same, with the mark of its life.
    pub(super) fn remember(
        &mut self,
        serial: u64,
        statm: Statm,
        reading: ProcessReading,
    ) -> (ProcessMemory, u64) {
        let program = reading.program();
        let execs = self.known.get(&serial).map_or(0, |before| {
            before.execs + u64::from(before.program.is_replaced_in(&program))
        });
        let known = Known {
            memory: self.named(reading.memory),
            program,
            execs,
            statm,
            seen: self.look,
        };
        let found = (known.memory.clone(), known.life());
        self.known.insert(serial, known);
        found
    }

    /// Forgets one that can be read no more.
    pub(super) fn forget(&mut self, serial: u64) {
        self.known.remove(&serial);
    }

    /// Forgets all that were not there in this look.
    pub(super) fn forget_gone(&mut self) {
        let look = self.look;
        self.known.retain(|_, known| known.seen == look);
    }

    /// With the name of its user.
    pub(super) fn named(&self, mut memory: ProcessMemory) -> ProcessMemory {
        let user = memory.user_id.and_then(|id| self.names.name(id));
        memory.user = user.map(str::to_owned);
        memory
    }
}

impl Known {
    fn life(&self) -> u64 {
        life(self.memory.id, self.execs)
    }
}

/// The mark of one life of a process, or of a group whose oldest it is. Start
/// times are far below 2^48 ticks.
fn life(id: ProcessId, execs: u64) -> u64 {
    (execs << 48) ^ id.start_time_ticks
}
