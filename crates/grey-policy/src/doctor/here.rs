//! Rules about where we are and what we may do: kernel, container, control
//! groups, capabilities, limits on ourselves.

use grey_model::{Capability, CgroupMode, DoctorFacts};

use super::finding::{Check, Finding, NoCommand, Remedy, known};

/// The kernel's release, for people: what it can do is probed.
pub(super) fn kernel(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("kernel", "kernel");
    const WHY: &str = "what it can do is looked for file by file; its version decides nothing";
    match &facts.setup.host.kernel {
        Some(release) => CHECK.ok(format!("Linux {release}"), WHY),
        None => CHECK.unknown("procfs does not tell its release", WHY),
    }
}

/// A container's view is a part of the machine's: namespaces(7), cgroups(7).
pub(super) fn container(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("container", "container");
    if facts.setup.host.container {
        return CHECK
            .note(
                "inside a container",
                "totals and settings here are the machine's, processes and cgroups only the \
                 container's, and the kernel cannot be set from here",
            )
            .by_hand(
                NoCommand::NothingToDo,
                "nothing has to be done; run it on the machine itself to see all of it",
            );
    }
    CHECK.ok(
        "none; this is the machine itself",
        "nothing is hidden by a container",
    )
}

/// `Documentation/admin-guide/cgroup-v2.rst`: a controller is in one hierarchy
/// at a time. This product writes version 2 alone.
pub(super) fn control_groups(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("control_groups", "control groups");
    const MISSING: &str = "limits on groups and reclaim from them need cgroup v2 with its memory \
                           controller; looking, page-out of processes, KSM, caches and OOM \
                           scores work without";
    let host = &facts.setup.host;
    let found = match host.cgroup_mode {
        CgroupMode::V2 => {
            return CHECK.ok(
                "version 2 with the memory controller",
                "limits on groups, reclaim from them and their accounts work through it",
            );
        }
        CgroupMode::V2WithoutMemory => "version 2 without the memory controller",
        CgroupMode::Hybrid => "version 2 beside version 1, which has the memory controller",
        CgroupMode::V1 => "version 1 only",
        CgroupMode::None => "none are mounted",
    };
    let finding = CHECK.warning(found, MISSING);
    if host.container {
        return finding.by_hand(
            NoCommand::Starter,
            "whoever starts this container decides: give it a group with the \
                               memory controller",
        );
    }
    match host.cgroup_mode {
        CgroupMode::V2WithoutMemory => finding.by_hand(
            NoCommand::AtStart,
            "look for cgroup_disable=memory on the kernel's command line, take it away, and \
             restart",
        ),
        CgroupMode::Hybrid | CgroupMode::V1 if host.systemd => finding.by_hand(
            NoCommand::AtStart,
            "add systemd.unified_cgroup_hierarchy=1 to the kernel's command line and restart",
        ),
        CgroupMode::None => finding
            .advise("where this kernel has them, until the next restart:")
            .mend(Remedy::Shell {
                command: "sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup".to_owned(),
                undo: Some("sudo umount /sys/fs/cgroup".to_owned()),
            }),
        _ => finding.by_hand(
            NoCommand::AtStart,
            "mount version 2 instead of version 1 when the machine starts",
        ),
    }
}

/// `memory.max` of cgroup-v2.rst holds for a group and everything below it.
pub(super) fn own_limit(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("own_limit", "limit on us");
    const WHY: &str = "whatever is started from here shares this limit, however much memory the \
                       machine has";
    let limit = match &facts.setup.own_limit {
        grey_model::Reading::Known(limit) => limit,
        grey_model::Reading::Absent => {
            return CHECK.ok("no group above us has a limit that we see", WHY);
        }
        grey_model::Reading::Unknown(reason) => return CHECK.unknown(reason.clone(), WHY),
    };
    let total = facts
        .setup
        .meminfo
        .known()
        .and_then(|meminfo| meminfo.mem_total);
    let Some(total) = total else {
        return CHECK.unknown(
            format!(
                "{} in {}; the machine's total is not known",
                limit.limit, limit.cgroup
            ),
            WHY,
        );
    };
    if limit.limit < total {
        let found = format!(
            "{} of the machine's {total}, set in {}",
            limit.limit, limit.cgroup
        );
        return CHECK.note(found, WHY).by_hand(
            NoCommand::NothingToDo,
            "nothing has to be done; who started this session may raise it",
        );
    }
    CHECK.ok("none below what the machine has", WHY)
}

/// `memory.reclaim` of cgroup-v2.rst.
pub(super) fn memory_reclaim(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("memory_reclaim", "memory.reclaim");
    const WHY: &str = "it takes memory back from a group without a limit; where it is missing, \
                       limits are reached through memory.high, and --reclaim is not supported";
    if facts.setup.features.memory_reclaim {
        return CHECK.ok("there", WHY);
    }
    if facts.setup.host.cgroup_mode.has_v2_memory() {
        return CHECK
            .note(
                "this kernel does not have it (Linux has it since 5.19)",
                WHY,
            )
            .by_hand(
                NoCommand::Kernel,
                "a newer kernel has it; until then --high and --limit take memory back",
            );
    }
    CHECK
        .note("not there without the memory controller of cgroup v2", WHY)
        .by_hand(NoCommand::Elsewhere, "see `control groups` above")
}

/// process_madvise(2). It was called without a process, which changes nothing.
pub(super) fn process_madvise(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("process_madvise", "process_madvise");
    const WHY: &str = "--page-out moves pages of a process to swap through it";
    if facts.setup.features.process_madvise {
        return CHECK.ok("there", WHY);
    }
    CHECK
        .note("this kernel does not have it, or a filter forbids it", WHY)
        .by_hand(
            NoCommand::Kernel,
            "Linux has it since 5.10; a container's filter (seccomp) is its engine's to change",
        )
}

/// capabilities(7), process_madvise(2), proc(5).
pub(super) fn capabilities(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("capabilities", "capabilities");
    const WHY: &str = "without CAP_SYS_PTRACE the PSS of others is unknown, without CAP_SYS_NICE \
                       they cannot be paged out, without CAP_SYS_RESOURCE an OOM score goes no \
                       lower than somebody who has it had set it last, and the rest is needed to \
                       write settings and read the kernel's log";
    const NEEDED: [Capability; 6] = [
        Capability::SysPtrace,
        Capability::SysNice,
        Capability::SysResource,
        Capability::SysAdmin,
        Capability::DacOverride,
        Capability::Syslog,
    ];
    let ours = known!(CHECK, facts.setup.capabilities, WHY);
    let missing: Vec<&str> = NEEDED
        .into_iter()
        .filter(|capability| !ours.has(*capability))
        .map(Capability::name)
        .collect();
    let who = if ours.root { "root" } else { "not root" };
    if missing.is_empty() {
        return CHECK.ok(format!("{who}, with all that is needed"), WHY);
    }
    let found = format!("{who}, without {}", missing.join(", "));
    if !ours.root {
        return CHECK.note(found, WHY).mend(Remedy::OursAsRoot("doctor"));
    }
    if facts.setup.host.container {
        return CHECK
            .note(found, WHY)
            .by_hand(NoCommand::Starter, "whoever starts this container decides");
    }
    CHECK.warning(found, WHY).by_hand(
        NoCommand::Starter,
        "whoever started this session took them away: log in as root anew, or use sudo",
    )
}

/// This project's advice: below this many, a busy program that opens a file for
/// each process or connection fails.
const FEW_OPEN_FILES: u64 = 1024;

/// getrlimit(2), RLIMIT_NOFILE.
pub(super) fn open_files(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("open_files", "limit of open files");
    const WHY: &str = "whatever is started from here fails to open files beyond it; the readings \
                       of greyctl keep some open, too";
    let limits = known!(CHECK, facts.setup.limits, WHY);
    let Some(files) = limits.open_files else {
        return CHECK.unknown("`/proc/self/limits` does not tell", WHY);
    };
    let Some(soft) = files.soft else {
        return CHECK.ok("unlimited", WHY);
    };
    if soft >= FEW_OPEN_FILES {
        return CHECK.ok(soft.to_string(), WHY);
    }
    let finding = CHECK.warning(soft.to_string(), WHY);
    if files.hard.is_none_or(|hard| hard >= FEW_OPEN_FILES) {
        return finding
            .advise("for this shell and what it starts:")
            .mend(Remedy::Shell {
                command: format!("ulimit -S -n {FEW_OPEN_FILES}"),
                undo: Some(format!("ulimit -S -n {soft}")),
            });
    }
    finding.by_hand(
        NoCommand::Starter,
        "it cannot be raised from here: whoever starts this session decides",
    )
}

/// getrlimit(2): RLIMIT_AS bounds addresses and RLIMIT_DATA private writable
/// memory, not what is resident; beyond it, allocations fail.
pub(super) fn address_limits(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("address_limits", "limits of addresses");
    const WHY: &str = "allocations of whatever is started from here fail beyond it, however much \
                       memory is free; it frees no memory";
    let limits = known!(CHECK, facts.setup.limits, WHY);
    let soft = |limit: Option<grey_model::ResourceLimit>| limit.and_then(|limit| limit.soft);
    let set: Vec<String> = [
        ("address space", soft(limits.address_space)),
        ("data", soft(limits.data)),
    ]
    .into_iter()
    .filter_map(|(name, bytes)| Some(format!("{name} {}", grey_model::Bytes(bytes?))))
    .collect();
    if set.is_empty() {
        return CHECK.ok("none", WHY);
    }
    CHECK.note(set.join(", "), WHY).by_hand(
        NoCommand::NothingToDo,
        "nothing has to be done where it is meant; ulimit and the unit that starts it set it",
    )
}
