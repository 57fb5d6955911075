//! From a diagnosis to the account of each target: what is read more closely,
//! and what of it is whose.
//!
//! Never reads the mappings of more than one process of a target, and never
//! those of a process above its bound: the process waits meanwhile.

use std::cmp::Reverse;

use grey_model::{
    Bytes, CgroupMemory, CgroupPath, ProcessMemory, ProcessState, ResolvedTarget, TargetKind,
};
use grey_telemetry::Kernel;
use grey_telemetry::cgroup::{read_dying, read_processes_of};
use grey_telemetry::process::read_mappings;

use super::document::{Account, AccountKind, Member, Part, PartKind, Sharing, Trend, TrendSource};
use super::sharers::Candidates;
use super::{advice, findings, limits, sharers};
use crate::cli::GlobalOptions;
use crate::cold::reading::read_cold;
use crate::count::counted;
use crate::diagnose::document::Diagnosis;
use crate::failure::chain;

/// Mappings are read of a process with at most this much resident memory.
const MOST_MAPPED: Bytes = Bytes::from_mib(8 << 10);

/// What reading more closely needs.
pub(super) struct Closer<'run> {
    pub(super) kernel: &'run Kernel,
    pub(super) global: &'run GlobalOptions,
    pub(super) source: TrendSource,
    /// Whether a recorder is at work.
    pub(super) is_being_recorded: bool,
}

/// The account of each target of `diagnosis`.
pub(super) fn accounts(closer: &Closer<'_>, diagnosis: &Diagnosis) -> Vec<Account> {
    let targets = diagnosis.targets.iter().flatten();
    let (mut accounts, shared): (Vec<Account>, Vec<Candidates>) = targets
        .map(|target| account(closer, diagnosis, target))
        .unzip();
    sharers::fill(closer.kernel, &mut accounts, shared);
    for account in &mut accounts {
        account.findings = findings::all(account, diagnosis);
        account.advice = advice::all(closer, account, diagnosis);
    }
    accounts
}

/// The account without its sentences, and what of it others may share.
fn account(
    closer: &Closer<'_>,
    diagnosis: &Diagnosis,
    target: &ResolvedTarget,
) -> (Account, Candidates) {
    let mut members: Vec<&ProcessMemory> = diagnosis
        .processes
        .iter()
        .filter(|process| target.processes.contains(&process.id))
        .collect();
    members.sort_by_key(|process| (Reverse(weight(process)), process.id));
    let lineage = lineage(diagnosis, target);
    let own = target
        .cgroup
        .as_ref()
        .and_then(|path| lineage.iter().find(|group| group.path == *path))
        .filter(|_| target.kind != TargetKind::Process);
    let is_closed = diagnosis.unreadable_processes != Some(0);
    let kind = match members.is_empty() && own.is_none() && is_removed(closer.kernel, target) {
        true => AccountKind::Vanished,
        false => kind_of(target, &members, own, is_closed),
    };
    let mut account = Account {
        target: target.clone(),
        kind,
        held: None,
        held_by: None,
        swap: None,
        parts: Vec::new(),
        mappings_of: None,
        mappings: None,
        sharing: None,
        processes: members.iter().map(|process| member(process)).collect(),
        dying_cgroups: own.and_then(|own| read_dying(closer.kernel, &own.path, &mut Vec::new())),
        cold: None,
        limits: limits::held(&lineage),
        trend: trend(closer.source, diagnosis, target),
        findings: Vec::new(),
        unseen: Vec::new(),
        advice: Vec::new(),
        cgroups: Vec::new(),
    };
    match kind {
        AccountKind::Process => of_process(&mut account, members[0]),
        AccountKind::Cgroup | AccountKind::EmptyCgroup => of_cgroup(&mut account, own),
        AccountKind::ProcessesAlone => of_processes(&mut account, &members),
        _ => {}
    }
    account.parts.sort_by_key(|part| Reverse(part.bytes));
    account.cgroups = lineage;
    let mut shared = Candidates::default();
    if matches!(
        kind,
        AccountKind::Process | AccountKind::Cgroup | AccountKind::ProcessesAlone
    ) {
        shared = read_closely(closer, &mut account, &members).unwrap_or_default();
        account.cold = Some(read_cold(closer.kernel, target));
    }
    unreadable(&mut account, &members);
    (account, shared)
}

fn kind_of(
    target: &ResolvedTarget,
    members: &[&ProcessMemory],
    own: Option<&CgroupMemory>,
    is_closed: bool,
) -> AccountKind {
    if target.kind == TargetKind::Process {
        return match members.first() {
            None if is_closed => AccountKind::Unreadable,
            None => AccountKind::Vanished,
            Some(process) if process.kernel_thread => AccountKind::KernelThread,
            Some(process) if is_zombie(process) => AccountKind::Zombie,
            Some(_) => AccountKind::Process,
        };
    }
    if target.cgroup.as_ref().is_some_and(CgroupPath::is_root) {
        AccountKind::RootCgroup
    } else if members.is_empty() {
        AccountKind::EmptyCgroup
    } else if own.is_some() {
        AccountKind::Cgroup
    } else {
        AccountKind::ProcessesAlone
    }
}

/// Whether the cgroup that was named is there no more.
fn is_removed(kernel: &Kernel, target: &ResolvedTarget) -> bool {
    let path = target.cgroup.as_ref();
    let path = path.filter(|_| target.kind != TargetKind::Process);
    path.is_some_and(|path| {
        read_processes_of(kernel, path, &mut Vec::new()).is_err_and(|error| error.is_vanished())
    })
}

/// One whose first thread has ended looks the same while others go on.
fn is_zombie(process: &ProcessMemory) -> bool {
    matches!(process.state, ProcessState::Zombie | ProcessState::Dead)
        && process.threads.is_none_or(|threads| threads <= 1)
}

fn weight(process: &ProcessMemory) -> Bytes {
    let resident = process.pss.or(process.rss).unwrap_or_default();
    resident.saturating_add(process.swap.unwrap_or_default())
}

fn member(process: &ProcessMemory) -> Member {
    Member {
        id: process.id,
        name: process.name.clone(),
        rss: process.rss,
        pss: process.pss,
        swap: process.swap,
    }
}

/// The target's cgroup, then each above it.
fn lineage(diagnosis: &Diagnosis, target: &ResolvedTarget) -> Vec<CgroupMemory> {
    std::iter::successors(target.cgroup.clone(), CgroupPath::parent)
        .filter_map(|path| {
            let mut known = diagnosis.cgroups.iter();
            known.find(|group| group.path == path).cloned()
        })
        .collect()
}

fn part(parts: &mut Vec<Part>, kind: PartKind, bytes: Option<Bytes>) {
    if let Some(bytes) = bytes.filter(|bytes| *bytes > Bytes::ZERO) {
        parts.push(Part { kind, bytes });
    }
}

fn of_process(account: &mut Account, process: &ProcessMemory) {
    (account.held, account.held_by) = match (process.pss, process.rss) {
        (Some(pss), _) => (Some(pss), Some("pss")),
        (None, Some(rss)) => (Some(rss), Some("rss")),
        (None, None) => (None, None),
    };
    account.swap = process.swap_pss.or(process.swap);
    part(&mut account.parts, PartKind::Anonymous, process.rss_anon);
    part(&mut account.parts, PartKind::File, process.rss_file);
    part(&mut account.parts, PartKind::Shared, process.rss_shmem);
    account.sharing = Some(Sharing {
        rss: process.rss,
        pss: process.pss,
        uss: process.uss,
        files: None,
        unseen_processes: 0,
    });
}

fn of_cgroup(account: &mut Account, own: Option<&CgroupMemory>) {
    let Some(own) = own else { return };
    account.held = own.current;
    account.held_by = own.current.map(|_| "memory.current");
    account.swap = own.swap_current;
    let Some(stat) = &own.stat else { return };
    let parts = &mut account.parts;
    part(parts, PartKind::Anonymous, stat.anon);
    let file = stat
        .file
        .map(|file| file.saturating_sub(stat.shmem.unwrap_or_default()));
    part(parts, PartKind::File, file);
    part(parts, PartKind::Shared, stat.shmem);
    part(parts, PartKind::SlabReclaimable, stat.slab_reclaimable);
    part(parts, PartKind::SlabUnreclaimable, stat.slab_unreclaimable);
    part(parts, PartKind::Zswap, stat.zswap);
    let slab = [stat.slab_reclaimable, stat.slab_unreclaimable];
    let slab: Bytes = slab.into_iter().flatten().sum();
    // Before 5.18 the kernel did not print the sum; network buffers stand
    // beside it in any case.
    let kernel = match stat.kernel {
        Some(kernel) => kernel.saturating_sub(slab),
        None => [stat.kernel_stack, stat.pagetables, stat.percpu]
            .into_iter()
            .flatten()
            .sum(),
    };
    let kernel = kernel.saturating_add(stat.sock.unwrap_or_default());
    part(parts, PartKind::Kernel, Some(kernel));
}

/// Where no cgroup has an account: the sums of the processes.
fn of_processes(account: &mut Account, members: &[&ProcessMemory]) {
    let live = |of: fn(&ProcessMemory) -> Option<Bytes>| -> Option<Bytes> {
        let known: Vec<Bytes> = members.iter().filter_map(|process| of(process)).collect();
        (!known.is_empty()).then(|| known.into_iter().sum())
    };
    (account.held, account.held_by) = match live(|process| process.pss) {
        Some(pss) => (Some(pss), Some("pss")),
        None => {
            let rss = live(|process| process.rss);
            (rss, rss.map(|_| "rss"))
        }
    };
    account.swap = live(|process| process.swap_pss.or(process.swap));
    let parts = &mut account.parts;
    part(parts, PartKind::Anonymous, live(|process| process.rss_anon));
    part(parts, PartKind::File, live(|process| process.rss_file));
    part(parts, PartKind::Shared, live(|process| process.rss_shmem));
}

/// The mappings of the target, or of the largest process in it; gives what of
/// them others map, too. `None` where they were not read.
fn read_closely(
    closer: &Closer<'_>,
    account: &mut Account,
    members: &[&ProcessMemory],
) -> Option<Candidates> {
    let process = members.first().filter(|process| !process.kernel_thread)?;
    // Who may not read the one may not read the other.
    process.pss?;
    let who = format!("{} ({})", process.name.to_process_name(), process.id);
    if process.rss.is_some_and(|rss| rss > MOST_MAPPED) {
        account.unseen.push(format!(
            "the mappings of {who} were not read: it has more than {MOST_MAPPED} in memory, and \
             would have to wait for it"
        ));
        return None;
    }
    let mut buffer = Vec::new();
    let read = match read_mappings(closer.kernel, process.id, &mut buffer) {
        Ok(Some(read)) => read,
        Ok(None) => return None,
        Err(error) if error.is_vanished() => return None,
        Err(error) => {
            account.unseen.push(format!(
                "the mappings of {who} could not be read: {}",
                chain(&error)
            ));
            return None;
        }
    };
    if read.cut {
        account.unseen.push(format!(
            "{who} has more mappings than are read: what is beyond is missing"
        ));
    }
    account.mappings_of = Some(process.id);
    account.sharing.get_or_insert(Sharing {
        rss: process.rss,
        pss: process.pss,
        uss: process.uss,
        files: None,
        unseen_processes: 0,
    });
    let candidates = Candidates::of(&account.target, &read.mappings);
    account.mappings = Some(
        read.mappings
            .into_iter()
            .map(|(_, mapped)| mapped)
            .collect(),
    );
    Some(candidates)
}

/// Processes with memory that may not be looked into.
fn unreadable(account: &mut Account, members: &[&ProcessMemory]) {
    let closed: Vec<&&ProcessMemory> = members
        .iter()
        .filter(|process| !process.kernel_thread && !is_zombie(process) && process.pss.is_none())
        .collect();
    let Some(first) = closed.first() else { return };
    let user = match (&first.user, first.user_id) {
        (Some(name), _) => name.clone(),
        (None, Some(id)) => format!("user {id}"),
        (None, None) => "another user".to_owned(),
    };
    let who = if closed.len() == 1 {
        format!("{} ({})", first.name.to_process_name(), first.id)
    } else {
        counted(closed.len() as u64, "process", "processes")
    };
    let why = if rustix::process::geteuid().is_root() {
        "the kernel did not let even root read it".to_owned()
    } else {
        format!("it belongs to {user}, and only root may look into it (sudo)")
    };
    account.unseen.push(format!(
        "PSS, USS and the mappings of {who} could not be read: {why}"
    ));
}

/// The verdict on the target: on the cgroup itself where it was looked at, else
/// the worst on one of its processes.
fn trend(source: TrendSource, diagnosis: &Diagnosis, target: &ResolvedTarget) -> Option<Trend> {
    let found = &diagnosis.leak_detection;
    if target.kind != TargetKind::Process
        && let Some(leak) = found
            .leak_cgroups
            .iter()
            .flatten()
            .find(|leak| Some(&leak.cgroup) == target.cgroup.as_ref())
    {
        return Some(Trend {
            source,
            of: leak.of,
            process: None,
            name: None,
            judgement: leak.judgement,
        });
    }
    // The worst comes first.
    let leak = found
        .leaks
        .iter()
        .flatten()
        .find(|leak| target.processes.contains(&leak.id))?;
    Some(Trend {
        source,
        of: leak.of,
        process: Some(leak.id),
        name: Some(leak.name.clone()),
        judgement: leak.judgement,
    })
}
