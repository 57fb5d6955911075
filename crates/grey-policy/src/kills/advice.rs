//! What to do so that a kill does not come again: commands that exist, for the
//! owner that the cgroup has.
//!
//! Never proposes to change what an engine or a user's systemd manages behind
//! its back.

use grey_model::{
    Bytes, CgroupPath, KernelKill, Kill, Killer, MemoryLimit, Owner, UnitMemoryProperty,
};

use super::KillFacts;
use crate::theirs;

/// No limit below this is set by us (`memory-enforce` refuses it).
const LOWEST_LIMIT: u64 = 64 << 20;

const MIB: u64 = 1 << 20;

/// After a kill by the kernel.
pub(super) fn for_kernel(kill: &Kill, report: &KernelKill, facts: &KillFacts) -> Vec<String> {
    match kill.killer {
        Killer::KernelCgroup => for_cgroup(kill, facts),
        Killer::KernelGlobal if report.by_sysrq => Vec::new(),
        Killer::KernelGlobal => for_machine(kill, report, facts),
        _ => vec!["see who uses the memory now: greyctl memory-diagnose".to_owned()],
    }
}

fn for_cgroup(kill: &Kill, facts: &KillFacts) -> Vec<String> {
    let Some(cgroup) = &kill.limit_cgroup else {
        return vec![
            "see which groups are near their limit: greyctl memory-diagnose --verbose".to_owned(),
        ];
    };
    let mut advice = vec![format!(
        "see what it holds now: greyctl memory-diagnose --target {}",
        target(cgroup, facts)
    )];
    let owner = owner_of(cgroup, facts);
    let more = |limit: Bytes| Bytes(limit.0.saturating_add(limit.0 / 2));
    if !may_be_limited(&owner) {
        let limit = kill
            .limit_bytes
            .map_or(MemoryLimit::Max, |limit| MemoryLimit::Bytes(more(limit)));
        let theirs = theirs::refusal(&owner, cgroup, UnitMemoryProperty::MemoryMax, limit);
        advice.extend(theirs.map(|theirs| format!("to give it more: {}", theirs.hint)));
        return advice;
    }
    if let Some(limit) = kill.limit_bytes {
        let more = whole_mebibytes(more(limit));
        advice.push(format!(
            "give it more, if the machine has it: greyctl memory-enforce --target {} --limit {more}",
            target(cgroup, facts)
        ));
        let slower = Bytes(limit.0 / 10 * 9);
        if slower.0 >= LOWEST_LIMIT {
            advice.push(format!(
                "or have it slowed down and reclaimed before that: greyctl memory-enforce \
                 --target {} --high {}",
                target(cgroup, facts),
                whole_mebibytes(slower)
            ));
        }
    }
    if let (Owner::SystemdUnit { unit }, Some(limit)) = (&owner, kill.limit_bytes) {
        advice.push(format!(
            "for good, beyond the next boot: systemctl set-property {} MemoryMax={}",
            shell_word(unit),
            more(limit).0
        ));
    }
    advice
}

fn for_machine(kill: &Kill, report: &KernelKill, facts: &KillFacts) -> Vec<String> {
    let mut advice = vec!["see who uses the memory now: greyctl memory-diagnose".to_owned()];
    let largest = kill.consumers.as_ref().and_then(|all| all.first());
    let is_victim = largest.is_none_or(|largest| largest.killed);
    let own = kill.cgroup.as_ref().filter(|path| !path.is_root());
    // What it had grown to was too much for the machine.
    let less = |held: Bytes| whole_mebibytes(Bytes(held.0 / 5 * 4));
    match (own, largest, kill.rss_bytes) {
        (Some(cgroup), _, Some(held)) if is_victim && may_be_limited(&owner_of(cgroup, facts)) => {
            advice.push(format!(
                "limit it, so that it is slowed down before the machine is full: greyctl \
                 memory-enforce --target {} --high {}",
                target(cgroup, facts),
                less(held)
            ));
        }
        (_, Some(largest), _) => advice.push(format!(
            "limit the largest, so that it is slowed down before the machine is full: greyctl \
             memory-enforce --target {} --high {}",
            shell_word(&format!("name:{}", largest.name)),
            less(largest.rss_bytes)
        )),
        _ => {}
    }
    if let Some(name) = &kill.name {
        advice.push(format!(
            "or have others killed first: greyctl memory-enforce --target {} --oom-score-adj -500",
            shell_word(&format!("name:{name}"))
        ));
    }
    if report.swap_total == Some(Bytes(0)) {
        advice.push(
            "give the machine swap, such as zram: without it nothing but files can be \
                     taken back"
                .to_owned(),
        );
    }
    advice
}

/// After a kill by systemd-oomd; `cgroup` is what was killed.
pub(super) fn for_oomd(cgroup: Option<&CgroupPath>, facts: &KillFacts) -> Vec<String> {
    let Some(cgroup) = cgroup else {
        return vec!["see what systemd-oomd watches: oomctl".to_owned()];
    };
    let mut advice = vec![
        format!(
            "see what it holds now: greyctl memory-diagnose --target {}",
            target(cgroup, facts)
        ),
        "see what systemd-oomd watches, and its limits: oomctl".to_owned(),
    ];
    let owner = owner_of(cgroup, facts);
    if may_be_limited(&owner) {
        advice.push(
            "have it slowed down and reclaimed by itself, before others suffer: memory-enforce \
             with --high, below what it holds"
                .to_owned(),
        );
    }
    if let Some(unit) = owner.unit() {
        let user = match &owner {
            Owner::UserUnit { .. } => "--user ",
            _ => "",
        };
        advice.push(format!(
            "or have others killed first: systemctl {user}set-property {} \
             ManagedOOMPreference=avoid",
            shell_word(unit)
        ));
    }
    advice
}

/// Whose it is. A saved log may be of a machine with systemd where this one
/// has none: its top slices tell.
fn owner_of(cgroup: &CgroupPath, facts: &KillFacts) -> Owner {
    const SLICES: [&[u8]; 3] = [b"system.slice", b"user.slice", b"machine.slice"];
    let is_in_slice = cgroup
        .components()
        .next()
        .is_some_and(|first| SLICES.contains(&first));
    Owner::of(cgroup, facts.has_systemd || is_in_slice)
}

/// Whom `memory-enforce` would limit.
const fn may_be_limited(owner: &Owner) -> bool {
    matches!(
        owner,
        Owner::Ours | Owner::Nobody | Owner::SystemdUnit { .. }
    )
}

/// The cgroup as a target, and as a word of a shell.
fn target(cgroup: &CgroupPath, facts: &KillFacts) -> String {
    match owner_of(cgroup, facts) {
        Owner::SystemdUnit { unit } => shell_word(&unit),
        _ => shell_word(&cgroup.to_string()),
    }
}

fn whole_mebibytes(bytes: Bytes) -> String {
    format!("{}M", bytes.0.max(LOWEST_LIMIT).div_ceil(MIB))
}

/// The text as one word of a shell.
pub(super) fn shell_word(text: &str) -> String {
    grey_model::shell_word(text.as_bytes())
}
