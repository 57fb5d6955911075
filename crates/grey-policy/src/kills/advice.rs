//! What to do so that a kill does not come again: commands that exist, for the
//! owner that the cgroup has.
//!
//! Never proposes to change what an engine or a user's systemd manages behind
//! its back, and never a command that cannot work: about what is gone, what no
//! word names, or limits that this machine does not have, it says why there is
//! none. What others have named stands only in a command, as a shell's word.

use grey_model::{
    Bytes, CgroupPath, KernelKill, KernelText, Kill, KillRecord, Killer, MemoryLimit, Owner,
    Target, UnitMemoryProperty, is_unit_name, shell_word,
};

use super::{KillFacts, TimedRecord, shortage};
use crate::theirs;

/// Who has this as its `oom_score_adj` is never killed.
pub(super) const NEVER: i16 = -1000;

/// No limit below this is set by us (`memory-enforce` refuses it).
const LOWEST_LIMIT: u64 = 64 << 20;

const MIB: u64 = 1 << 20;

const GONE: &str = "there is no command for it, as it is not there now; whoever makes it again \
                    decides on its limit";

const NO_WORD: &str = "there is no command for it: its name is not UTF-8, so that none can be \
                       typed; see all groups: greyctl memory-diagnose --verbose";

const NO_LIMITS: &str = "memory-enforce cannot limit it, which needs the memory controller of \
                         cgroup version 2; see what this machine has: greyctl doctor";

const NOT_MANAGED: &str = "only who manages it can change its limit: there is no command for that \
                           without the memory controller of cgroup version 2";

const NO_NAME: &str = "there is no command for it by its name now: it has ended, several are \
                       called so, or the name cannot be typed; once it runs, its pid or its group \
                       can be limited";

/// Everything that the advice on these kills may name, to be looked for: a
/// command can only be given of what is there.
#[must_use]
pub fn named_targets(records: &[TimedRecord], has_systemd: bool) -> Vec<Target> {
    let mut named: Vec<Target> = Vec::new();
    let mut add = |target: Target| {
        if !named.contains(&target) {
            named.push(target);
        }
    };
    for record in records {
        let cgroups = match &record.record {
            KillRecord::Kernel(kill) => {
                let largest = kill.tasks.first().map(|row| &row.name);
                for name in [kill.name.as_ref(), largest].into_iter().flatten() {
                    name_target(name).map(&mut add);
                }
                [kill.limit_cgroup.as_ref(), kill.victim_cgroup.as_ref()]
            }
            KillRecord::Oomd(kill) => [kill.cgroup.as_ref(), None],
            KillRecord::Unit(unit) => {
                unit_target(&unit.unit).map(&mut add);
                [None, None]
            }
            KillRecord::Nobody(nobody) => {
                let tasks = nobody.report.tasks.iter();
                let protected = tasks.clone().find(|row| row.oom_score_adj == NEVER);
                for row in tasks.take(1).chain(protected) {
                    name_target(&row.name).map(&mut add);
                }
                [nobody.report.limit_cgroup.as_ref(), None]
            }
            KillRecord::Program(_) => [None, None],
        };
        for cgroup in cgroups.into_iter().flatten() {
            add(cgroup_target(cgroup, has_systemd));
        }
    }
    named
}

/// After a kill by the kernel.
pub(super) fn for_kernel(kill: &Kill, report: &KernelKill, facts: &KillFacts<'_>) -> Vec<String> {
    match kill.killer {
        Killer::KernelCgroup => for_cgroup(kill, report, facts),
        Killer::KernelGlobal => shortage::advice(kill, report, facts),
        _ => vec![SEE_USERS.to_owned()],
    }
}

/// Half as much again.
const fn more(limit: Bytes) -> Bytes {
    Bytes(limit.0.saturating_add(limit.0 / 2))
}

fn for_cgroup(kill: &Kill, report: &KernelKill, facts: &KillFacts<'_>) -> Vec<String> {
    let Some(cgroup) = &kill.limit_cgroup else {
        return vec![
            "see which groups are near their limit: greyctl memory-diagnose --verbose".to_owned(),
        ];
    };
    let owner = owner_of(cgroup, facts.has_systemd);
    let target = cgroup_target(cgroup, facts.has_systemd);
    if facts.missing.contains(&target) {
        let for_good = for_good(kill, &owner, ", where the unit has a file");
        return std::iter::once(GONE.to_owned()).chain(for_good).collect();
    }
    let Some(word) = target.to_word() else {
        return vec![NO_WORD.to_owned()];
    };
    let mut advice = vec![format!(
        "see what it holds now: greyctl memory-diagnose --target {word}"
    )];
    // Only version 1 counts memory and swap together.
    let has_limits = facts.has_limits && report.memory_and_swap.is_none();
    match (may_be_limited(&owner), has_limits) {
        (true, true) => advice.extend(wider_limit(kill, &word)),
        (true, false) => advice.push(NO_LIMITS.to_owned()),
        (false, true) => {
            let limit = kill
                .limit_bytes
                .map_or(MemoryLimit::Max, |limit| MemoryLimit::Bytes(more(limit)));
            let theirs = theirs::refusal(&owner, cgroup, UnitMemoryProperty::MemoryMax, limit);
            advice.extend(theirs.map(|theirs| format!("to give it more: {}", theirs.hint)));
        }
        (false, false) => advice.push(NOT_MANAGED.to_owned()),
    }
    advice.extend(for_good(kill, &owner, ", beyond the next boot"));
    advice
}

/// A wider limit, or being slowed down before it.
fn wider_limit(kill: &Kill, word: &str) -> Vec<String> {
    let Some(limit) = kill.limit_bytes else {
        return Vec::new();
    };
    let more = whole_mebibytes(more(limit));
    let mut advice = vec![format!(
        "give it more, if the machine has it: greyctl memory-enforce --target {word} --limit {more}"
    )];
    let slower = Bytes(limit.0 / 10 * 9);
    if slower.0 >= LOWEST_LIMIT {
        advice.push(format!(
            "or have it slowed down and reclaimed before that: greyctl memory-enforce --target \
             {word} --high {}",
            whole_mebibytes(slower)
        ));
    }
    advice
}

/// What systemd is told once, and sets on either version: systemd.resource-control(5).
/// One that is no service has no file, and goes with what is in it.
fn for_good(kill: &Kill, owner: &Owner, when: &str) -> Option<String> {
    let (Owner::SystemdUnit { unit }, Some(limit)) = (owner, kill.limit_bytes) else {
        return None;
    };
    let has_no_file = when.contains("file") && !unit.ends_with(".service");
    (!has_no_file).then(|| {
        format!(
            "for good{when}: systemctl set-property -- {} MemoryMax={}",
            shell_word(unit.as_bytes()),
            more(limit).0
        )
    })
}

/// How to see who uses the memory.
pub(super) const SEE_USERS: &str = "see who uses the memory now: greyctl memory-diagnose";

/// What keeps the machine from being full.
pub(super) fn for_machine(kill: &Kill, facts: &KillFacts<'_>) -> Vec<String> {
    let mut advice = Vec::new();
    let largest = kill.consumers.as_ref().and_then(|all| all.first());
    let is_victim = largest.is_none_or(|largest| largest.killed);
    let own = kill
        .cgroup
        .as_ref()
        .filter(|path| is_victim && !path.is_root())
        .filter(|path| may_be_limited(&owner_of(path, facts.has_systemd)))
        .and_then(|path| there(Some(cgroup_target(path, facts.has_systemd)), facts));
    let by_name = |name: &KernelText| there(name_target(name), facts);
    // What it had grown to was too much for the machine.
    let less = |held: Bytes| whole_mebibytes(Bytes(held.0 / 5 * 4));
    let mut unnamed = false;
    match (own, largest, kill.rss_bytes) {
        _ if !facts.has_limits => advice.push(NO_LIMITS.to_owned()),
        (Some(word), _, Some(held)) => advice.push(format!(
            "limit it, so that it is slowed down before the machine is full: greyctl \
             memory-enforce --target {word} --high {}",
            less(held)
        )),
        (_, Some(largest), _) => match by_name(&largest.name) {
            Some(word) => advice.push(format!(
                "limit the largest, so that it is slowed down before the machine is full: greyctl \
                 memory-enforce --target {word} --high {}",
                less(largest.rss_bytes)
            )),
            None => unnamed = true,
        },
        _ => {}
    }
    if unnamed {
        advice.push(NO_NAME.to_owned());
    }
    advice
}

/// How to have others killed first, when the kernel has to.
pub(super) fn spare(kill: &Kill, facts: &KillFacts<'_>) -> Option<String> {
    let word = there(name_target(kill.name.as_ref()?), facts);
    Some(word.map_or_else(
        || NO_NAME.to_owned(),
        |word| {
            format!(
                "or have others killed first: greyctl memory-enforce --target {word} \
                 --oom-score-adj -500"
            )
        },
    ))
}

/// How to let the kernel kill this program where it must.
pub(super) fn unprotect(name: &KernelText, facts: &KillFacts<'_>) -> Option<String> {
    let word = there(name_target(name), facts)?;
    Some(format!(
        "have the largest of them killed after all others, in place of never: greyctl memory-enforce --target {word} \
         --oom-score-adj -500"
    ))
}

/// Where there is nowhere to put what programs allocate.
pub(super) fn swap(report: &KernelKill) -> Option<String> {
    (report.swap_total == Some(Bytes(0))).then(|| {
        "give the machine swap, such as zram: without it nothing but files can be taken back"
            .to_owned()
    })
}

/// After a kill by systemd-oomd; `cgroup` is what was killed.
pub(super) fn for_oomd(cgroup: Option<&CgroupPath>, facts: &KillFacts<'_>) -> Vec<String> {
    let Some(cgroup) = cgroup else {
        return vec!["see what systemd-oomd watches: oomctl".to_owned()];
    };
    let target = cgroup_target(cgroup, facts.has_systemd);
    let is_gone = facts.missing.contains(&target);
    let mut advice = vec![
        see(Some(target), facts),
        "see what systemd-oomd watches, and its limits: oomctl".to_owned(),
    ];
    let owner = owner_of(cgroup, facts.has_systemd);
    if may_be_limited(&owner) && !is_gone {
        advice.push(
            "have it slowed down and reclaimed by itself, before others suffer: memory-enforce \
             with --high, below what it holds"
                .to_owned(),
        );
    }
    if let Some(unit) = owner
        .unit()
        .filter(|unit| !is_gone || unit.ends_with(".service"))
    {
        let user = match &owner {
            Owner::UserUnit { .. } => "--user ",
            _ => "",
        };
        let when = if is_gone {
            ", where the unit has a file"
        } else {
            ""
        };
        advice.push(format!(
            "or have others killed first{when}: systemctl {user}set-property -- {} \
             ManagedOOMPreference=avoid",
            shell_word(unit.as_bytes())
        ));
    }
    advice
}

/// How to see what a unit holds now.
pub(super) fn see_unit(unit: &KernelText, facts: &KillFacts<'_>) -> String {
    see(unit_target(unit), facts)
}

fn see(target: Option<Target>, facts: &KillFacts<'_>) -> String {
    let is_gone = target.as_ref().is_some_and(|it| facts.missing.contains(it));
    match target.as_ref().and_then(Target::to_word) {
        _ if is_gone => GONE.to_owned(),
        Some(word) => format!("see what it holds now: greyctl memory-diagnose --target {word}"),
        None => NO_WORD.to_owned(),
    }
}

/// The unit as a word of a shell; `None` where systemd cannot have such a one.
pub(super) fn unit_word(unit: &KernelText) -> Option<String> {
    unit_target(unit).map(|_| shell_word(unit.as_bytes()))
}

/// The word for what is there.
fn there(target: Option<Target>, facts: &KillFacts<'_>) -> Option<String> {
    target
        .filter(|target| !facts.missing.contains(target))?
        .to_word()
}

/// Whose it is. A saved log may be of a machine with systemd where this one
/// has none: its top slices tell.
pub(super) fn owner_of(cgroup: &CgroupPath, has_systemd: bool) -> Owner {
    const SLICES: [&[u8]; 3] = [b"system.slice", b"user.slice", b"machine.slice"];
    let is_in_slice = cgroup
        .components()
        .next()
        .is_some_and(|first| SLICES.contains(&first));
    Owner::of(cgroup, has_systemd || is_in_slice)
}

/// Whom `memory-enforce` would limit.
const fn may_be_limited(owner: &Owner) -> bool {
    matches!(
        owner,
        Owner::Ours | Owner::Nobody | Owner::SystemdUnit { .. }
    )
}

/// The cgroup as it is named: a unit by its own name.
fn cgroup_target(cgroup: &CgroupPath, has_systemd: bool) -> Target {
    match owner_of(cgroup, has_systemd) {
        Owner::SystemdUnit { unit } => Target::Unit(unit),
        _ => Target::Cgroup(cgroup.clone()),
    }
}

fn unit_target(unit: &KernelText) -> Option<Target> {
    let name = std::str::from_utf8(unit.as_bytes()).ok()?;
    is_unit_name(name).then(|| Target::Unit(name.to_owned()))
}

fn name_target(name: &KernelText) -> Option<Target> {
    let name = std::str::from_utf8(name.as_bytes()).ok()?;
    Some(Target::Name(name.to_owned()))
}

fn whole_mebibytes(bytes: Bytes) -> String {
    format!("{}M", bytes.0.max(LOWEST_LIMIT).div_ceil(MIB))
}
