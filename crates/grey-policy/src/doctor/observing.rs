//! Rules about what can be seen here: pressure, cold memory, other processes.

use grey_model::{DoctorFacts, ProcessListing, Reading};

use super::finding::{Check, Finding, NoCommand, Remedy, known};

/// For what greyctl does not use.
const NOTHING_LACKS: &str = "nothing has to be done: memory-diagnose --cold does without it";

/// `Documentation/accounting/psi.rst`; `psi=` of kernel-parameters.txt.
pub(super) fn pressure(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("pressure", "pressure (PSI)");
    const WHY: &str = "the time that programs lose waiting for memory is the first sign of a \
                       shortage, and what systemd-oomd judges by";
    const ASK: &str = "add psi=1 to the kernel's command line and restart";
    let setup = &facts.setup;
    let pressure = match &setup.pressure {
        Reading::Known(Some(pressure)) => pressure,
        Reading::Known(None) => {
            return CHECK
                .warning("built in, and off", WHY)
                .by_hand(NoCommand::AtStart, ASK);
        }
        Reading::Absent if setup.psi_parameter == Some(false) => {
            return CHECK.warning("turned off at boot by psi=0", WHY).by_hand(
                NoCommand::AtStart,
                "take psi=0 off the kernel's command line and restart",
            );
        }
        Reading::Absent if setup.psi_parameter == Some(true) => {
            return CHECK
                .warning("not built in, though psi=1 was given at boot", WHY)
                .by_hand(
                    NoCommand::Kernel,
                    "only a kernel built with CONFIG_PSI has it",
                );
        }
        Reading::Absent => {
            return CHECK.warning("off, or not built in", WHY).by_hand(
                NoCommand::AtStart,
                format!("{ASK}; where that changes nothing, the kernel was built without it"),
            );
        }
        Reading::Unknown(reason) => return CHECK.unknown(reason.clone(), WHY),
    };
    let full = pressure
        .full
        .map_or_else(String::new, |full| format!(", full {:.2} %", full.avg10.0));
    let found = format!(
        "on; some {:.2} %{full} of the last 10 s",
        pressure.some.avg10.0
    );
    CHECK.ok(found, WHY)
}

/// `Documentation/admin-guide/mm/multigen_lru.rst`: bit 0 is the main switch.
pub(super) fn generations(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("generations", "multi-gen LRU");
    const WHY: &str = "it knows by generations what is cold, so reclaim costs less and takes the \
                       right pages more often";
    let mask = match &facts.setup.mglru {
        Reading::Absent => {
            return CHECK.note("this kernel does not have it", WHY).by_hand(
                NoCommand::Kernel,
                "only a kernel built with CONFIG_LRU_GEN (since 6.1) has it; without, --cold \
                 needs --for, and knows of processes alone",
            );
        }
        reading => *known!(CHECK, reading, WHY),
    };
    if mask & 1 == 1 {
        return CHECK.ok(format!("on ({mask:#06x})"), WHY);
    }
    CHECK.note("built in, and off", WHY).mend(Remedy::SysFile {
        path: "kernel/mm/lru_gen/enabled",
        value: "y".to_owned(),
        before: format!("{mask:#06x}"),
    })
}

/// `Documentation/admin-guide/mm/damon/usage.rst`.
pub(super) fn access_monitor(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("damon", "DAMON");
    const WHY: &str = "it samples which memory is used; greyctl does not use it: it guesses from \
                       samples, and who else uses it shares its settings";
    match &facts.setup.damon {
        Reading::Known(()) => CHECK.ok("there", WHY),
        Reading::Absent => CHECK
            .note("this kernel does not have it", WHY)
            .by_hand(NoCommand::NothingToDo, NOTHING_LACKS),
        Reading::Unknown(reason) => CHECK.unknown(reason.clone(), WHY),
    }
}

/// `Documentation/admin-guide/mm/pagemap.rst`, PAGEMAP_SCAN.
pub(super) fn page_scan(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("pagemap_scan", "PAGEMAP_SCAN");
    const WHY: &str = "it tells which pages of a process were written; greyctl does not use it: \
                       what is only read looks cold to it";
    match &facts.setup.pagemap_scan {
        Reading::Known(()) => CHECK.ok("there", WHY),
        Reading::Absent => CHECK
            .note("this kernel does not have it (Linux has it since 6.7)", WHY)
            .by_hand(NoCommand::NothingToDo, NOTHING_LACKS),
        Reading::Unknown(reason) => CHECK.unknown(reason.clone(), WHY),
    }
}

/// `hidepid` of `Documentation/filesystems/proc.rst`.
pub(super) fn hidden_processes(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("hidden_processes", "processes of others");
    const WHY: &str = "what cannot be seen is in the machine's totals and in no list of processes";
    match facts.setup.processes {
        ProcessListing::Whole => CHECK.ok("listed", WHY),
        ProcessListing::HidesOthers => CHECK
            .note("procfs hides them (hidepid)", WHY)
            .mend(Remedy::OursAsRoot("doctor")),
        ProcessListing::Empty => CHECK
            .note("no process is there, not even this one", WHY)
            .by_hand(
                NoCommand::Cause,
                "see whether a procfs is mounted there, and name the place with --procfs",
            ),
    }
}
