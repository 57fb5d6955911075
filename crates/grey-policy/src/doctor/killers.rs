//! Rules about who kills when memory is short: the kernel, and programs.

use grey_model::{DoctorFacts, OomDaemon};

use super::finding::{Check, Finding, NoCommand, Remedy, known};

/// `Documentation/admin-guide/sysctl/vm.rst`, panic_on_oom: at 2 a group that
/// reaches its own limit ends the machine, too.
pub(super) fn panic_on_oom(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("panic_on_oom", "vm.panic_on_oom");
    const WHY: &str = "when memory ends, the kernel kills a process and the machine lives";
    const MACHINE: &str = "when the machine runs out of memory the kernel panics instead of killing \
                           a process, as clusters may want it";
    const GROUP: &str = "one group that reaches its own limit makes the whole machine panic, so a \
                         limit that memory-enforce sets can, too";
    let value = *known!(CHECK, facts.setup.vm.panic_on_oom, WHY);
    let mend = Remedy::Sysctl {
        name: "vm.panic_on_oom",
        value: 0,
        before: value,
    };
    match value {
        0 => CHECK.ok("0", WHY),
        1 => CHECK.note("1", MACHINE).mend(mend),
        2 => CHECK.problem("2", GROUP).mend(mend),
        _ => CHECK.unknown(format!("{value} is no value that is known"), WHY),
    }
}

/// vm.rst, oom_kill_allocating_task. `out_of_memory` of mm/oom_kill.c: not for
/// the limit of a group, and not for a task that is exempt.
pub(super) fn kill_allocating_task(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("kill_allocating_task", "vm.oom_kill_allocating_task");
    const WHY: &str = "when the machine runs out of memory, the process with the highest score is \
                       killed";
    const ANYBODY: &str = "when the machine runs out of memory, whoever asks at that moment is \
                           killed, however small; OOM scores then decide nothing but who is exempt";
    let value = *known!(CHECK, facts.setup.vm.oom_kill_allocating_task, WHY);
    if value == 0 {
        return CHECK.ok("0", WHY);
    }
    CHECK
        .warning(value.to_string(), ANYBODY)
        .mend(Remedy::Sysctl {
            name: "vm.oom_kill_allocating_task",
            value: 0,
            before: value,
        })
}

/// systemd-oomd(8): it needs cgroup v2, PSI, and swap to act in time. Each of
/// these programs judges alone: two of them may kill for one shortage.
pub(super) fn daemons(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("oom_daemons", "programs that kill");
    const WHY: &str = "they kill before the kernel does, by rules of their own";
    const TWO: &str = "each judges alone, so two of them may both kill for one shortage";
    const SWAPLESS: &str = "without swap a machine stalls faster than systemd-oomd can see it: its \
                            manual asks for swap";
    const BLIND: &str = "systemd-oomd judges by pressure (PSI) and cgroup v2, and does nothing \
                         without either";
    let setup = &facts.setup;
    let daemons = known!(CHECK, setup.daemons, WHY);
    if daemons.is_empty() {
        return CHECK.ok("none runs; the kernel alone decides", WHY);
    }
    let names: Vec<String> = daemons.iter().map(described).collect();
    let found = names.join(", ");
    if daemons.len() > 1 {
        let spare = daemons.iter().find(|daemon| daemon.name != "systemd-oomd");
        let finding = CHECK
            .warning(found, TWO)
            .advise("keep one of them; to end the other:");
        return match spare.and_then(|daemon| daemon.unit.clone()) {
            Some(unit) => finding.mend(Remedy::StopService { unit }),
            None => finding.by_hand(NoCommand::Choice, "keep one of them"),
        };
    }
    if !daemons.iter().any(|daemon| daemon.name == "systemd-oomd") {
        return CHECK.ok(found, WHY);
    }
    let no_pressure = matches!(
        setup.pressure,
        grey_model::Reading::Absent | grey_model::Reading::Known(None)
    );
    if no_pressure || !setup.host.cgroup_mode.has_v2_memory() {
        return CHECK.warning(found, BLIND).by_hand(
            NoCommand::Elsewhere,
            "see `pressure (PSI)` and `control groups` for how to have them",
        );
    }
    if setup.swap.known().is_some_and(Vec::is_empty) {
        return CHECK.warning(found, SWAPLESS).by_hand(
            NoCommand::Choice,
            "give the machine swap, or keep to the kernel's own killer",
        );
    }
    CHECK.ok(found, WHY)
}

fn described(daemon: &OomDaemon) -> String {
    format!("{} ({})", daemon.name, daemon.pid)
}
