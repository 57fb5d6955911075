//! Reads everything that a diagnosis shows, once.
//!
//! Never writes to the kernel, and never fails because of one process or one
//! cgroup: what is missing becomes a note.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use grey_enforcement::AnewLooker;
use grey_model::{
    CgroupMemory, CgroupPath, ColdMemory, GroupBy, ProcessId, ProcessListing, ProcessMemory,
    ResolvedTarget, Target, TargetKind,
};
use grey_telemetry::cgroup::{TreeBounds, read_cgroup, read_tree};
use grey_telemetry::host::read_host;
use grey_telemetry::process::{
    Detail, Scratch, full_snapshot, process_listing, read_process, useful_threads,
};
use grey_telemetry::system::read_system;
use grey_telemetry::user::UserNames;
use grey_telemetry::{Kernel, ReadError, Resolver};

use super::document::{self, Diagnosis, Ksm, Swap};
use super::groups::{groups, since_boot};
use super::leaks::document::LeakDetection;
use super::leaks::{self, Watched};
use super::notes;
use super::recorded;
use super::report::{self, Extent};
use crate::cli::{DiagnoseOptions, GlobalOptions};
use crate::cold::measure::Measuring;
use crate::cold::reading::read_cold;
use crate::compare::file::{require_file, save};
use crate::duration::{exact, short};
use crate::enforcer::disposable_program;
use crate::exit_code::Exit;
use crate::failure::{Failure, is_denied};
use crate::history;
use crate::journal::overdue;
use crate::output::Output;
use crate::recommend;
use crate::roots::{kernel_roots, open_kernel, own_pid};
use crate::scope::Scope;
use crate::target::resolve_all;

/// How long it is looked for leaks when nobody says.
const LEAK_WINDOW: Duration = Duration::from_secs(60);

/// Runs `memory-diagnose`.
///
/// # Errors
/// A [`Failure`] when a target cannot be found or the machine's own account
/// cannot be read.
pub(crate) fn run(
    global: &GlobalOptions,
    options: &DiagnoseOptions,
    output: &mut Output,
) -> Result<Exit, Failure> {
    if let Some(path) = &options.save {
        require_file(path)?;
    }
    let by = options.by.map(GroupBy::from);
    let (mut diagnosis, since_boot) = match (&options.at, &options.since) {
        (Some(moment), _) => {
            let (diagnosis, then) = recorded::at(global, moment, &options.targets, by)?;
            (diagnosis, Some(then))
        }
        (None, since) if since.is_some() || options.until.is_some() => {
            (judge_history(global, options)?, since_boot())
        }
        (None, _) => {
            let diagnosis = take_after(global, &options.targets, |kernel, targets| {
                options
                    .detect_leaks
                    .then(|| look_for_leaks(global, kernel, targets, options, output))
                    .transpose()
            })?;
            (diagnosis, since_boot())
        }
    };
    if let Some(by) = by {
        diagnosis.groups = Some(groups(global, &diagnosis, by, since_boot));
        diagnosis.grouped_by = Some(by);
    }
    if options.cold {
        diagnosis.cold = Some(cold_memory(global, &diagnosis, options, output)?);
    }
    if let Some(path) = &options.save {
        save(&diagnosis, path)?;
    }
    if options.json {
        output.json(&diagnosis)?;
    } else {
        let extent = Extent {
            verbose: options.verbose,
            top: options.rows.top,
            width: output.width(),
        };
        output.text(&report::render(&diagnosis, extent))?;
    }
    Ok(if diagnosis.leak_detection.found_leak() {
        Exit::ThresholdCrossed
    } else {
        Exit::Success
    })
}

/// What of each target is cold: as the kernel tells it, or over the window that
/// was asked for, one target after the other.
fn cold_memory(
    global: &GlobalOptions,
    diagnosis: &Diagnosis,
    options: &DiagnoseOptions,
    output: &mut Output,
) -> Result<Vec<ColdMemory>, Failure> {
    let kernel = open_kernel(global)?;
    let targets = diagnosis.targets.iter().flatten();
    let Some(window) = options.window else {
        let told: Vec<ColdMemory> = targets.map(|target| read_cold(&kernel, target)).collect();
        if told.iter().any(|cold| cold.method.is_none()) {
            output.hint(&look_anew(global, &options.targets));
        }
        return Ok(told);
    };
    let measuring = Measuring {
        kernel: &kernel,
        looker: AnewLooker::new(kernel_roots(global), disposable_program()?),
        window: window.0,
        visible: output.shows_progress(),
    };
    targets.map(|target| measuring.measure(target)).collect()
}

/// Verdicts on what was recorded since then and until then. What is gone and was recorded may be
/// asked for, too.
fn judge_history(global: &GlobalOptions, options: &DiagnoseOptions) -> Result<Diagnosis, Failure> {
    let mut history = history::command::open(global)?;
    let words = "memory-diagnose --detect-leaks --since";
    let (since, until) = (options.since.as_ref(), options.until.as_ref());
    let (from, until) = history::command::bounds(global, since, until, words)?;
    history::command::require_some(&history, from, until)
        .map_err(|failure| history::command::look_at_all(global, &history, words, failure))?;
    let recorded = leaks::Recorded::read(&mut history, from, until)
        .map_err(|error| history::record::history_failure(&error))?;
    if recorded.is_empty() {
        return Err(history::command::no_sample(global, &history, from, until));
    }
    let is_recorded = |target: &Target, _: &Failure| {
        let scope = Scope::typed(std::slice::from_ref(target));
        let said = format!("{target} is only in history: it has no account of now");
        recorded.has(&scope).then(|| (Vec::new(), said))
    };
    let mut diagnosis = take_with(global, &options.targets, is_recorded, |kernel, _| {
        let scope = Scope::typed(&options.targets);
        Ok(Some(leaks::recall(kernel, &scope, &recorded)))
    })?;
    let later = history::command::begins_later(&history, from);
    diagnosis.notes.extend(later);
    diagnosis.notes.extend(history::command::missing(&history));
    Ok(diagnosis)
}

/// What to do where the kernel does not know what is cold.
fn look_anew(global: &GlobalOptions, targets: &[Target]) -> String {
    let words = "memory-diagnose --cold --for 60s";
    match recommend::command_on_all(global, words, targets) {
        Some(command) => format!("have the kernel look what is used from now on: {command}"),
        None => "have the kernel look what is used from now on, with --for 60s".to_owned(),
    }
}

fn look_for_leaks(
    global: &GlobalOptions,
    kernel: &Kernel,
    targets: &[ResolvedTarget],
    options: &DiagnoseOptions,
    output: &mut Output,
) -> Result<Watched, Failure> {
    let window = options.window.map_or(LEAK_WINDOW, |window| window.0);
    let interval = options.interval.0;
    if interval > window {
        return Err(single_reading(global, options, window, interval));
    }
    if let Some(warning) = leaks::warn_of_short_window(window, interval) {
        output.warn(&warning);
    }
    leaks::watch(kernel, targets, window, interval, output.shows_progress())
}

/// Why nothing is read, and the window that is long enough.
fn single_reading(
    global: &GlobalOptions,
    options: &DiagnoseOptions,
    window: Duration,
    interval: Duration,
) -> Failure {
    let (asked, apart) = (short(window), short(interval));
    let failure = Failure::new(
        Exit::Usage,
        format!("a single reading in {asked}, with one each {apart}, tells no change"),
    );
    let long = exact(leaks::enough(interval));
    let interval = exact(interval);
    let words = format!("memory-diagnose --detect-leaks --for {long} --interval {interval}");
    let command = recommend::command_on_all(global, &words, &options.targets);
    failure.hint(match command {
        Some(command) => format!("look for as long as a verdict takes: {command}"),
        None => format!("look for as long as a verdict takes, with --for {long}"),
    })
}

/// Makes a diagnosis of `targets`, or of the whole machine when there are none.
///
/// # Errors
/// A [`Failure`] as for [`run`].
pub(crate) fn take(global: &GlobalOptions, targets: &[Target]) -> Result<Diagnosis, Failure> {
    take_after(global, targets, |_, _| Ok(None))
}

/// The same after what `watch` does, with verdicts on what it has watched.
///
/// # Errors
/// A [`Failure`] as for [`run`].
pub(crate) fn take_after(
    global: &GlobalOptions,
    targets: &[Target],
    watch: impl FnOnce(&Kernel, &[ResolvedTarget]) -> Result<Option<Watched>, Failure>,
) -> Result<Diagnosis, Failure> {
    take_with(global, targets, |_, _| None, watch)
}

/// Makes a diagnosis of what is left of `before`, which was found for the same
/// `targets`; and tells which of them are gone.
///
/// # Errors
/// A [`Failure`] as for [`run`].
pub(crate) fn take_again(
    global: &GlobalOptions,
    targets: &[Target],
    before: &[ResolvedTarget],
) -> Result<(Diagnosis, Vec<Target>), Failure> {
    let mut gone = Vec::new();
    let stand_in = |target: &Target, failure: &Failure| {
        let typed = target.to_string();
        let found = before.iter().filter(|found| found.typed == typed);
        let found: Vec<ResolvedTarget> = found.cloned().collect();
        // Not what may not be looked at any more.
        (!found.is_empty() && failure.exit == Exit::Usage).then(|| {
            gone.push(target.clone());
            (found, format!("{target} is gone"))
        })
    };
    let diagnosis = take_with(global, targets, stand_in, |_, _| Ok(None))?;
    Ok((diagnosis, gone))
}

/// The same, where a target that is `gone` may be: with what stands in for it, and
/// what is to be said.
fn take_with(
    global: &GlobalOptions,
    targets: &[Target],
    mut gone: impl FnMut(&Target, &Failure) -> Option<(Vec<ResolvedTarget>, String)>,
    watch: impl FnOnce(&Kernel, &[ResolvedTarget]) -> Result<Option<Watched>, Failure>,
) -> Result<Diagnosis, Failure> {
    let kernel = open_kernel(global)?;
    let (mut resolved, mut remarks) = (Vec::new(), Vec::new());
    let mut resolver = Resolver::new(&kernel);
    for target in targets {
        let found = match resolve_all(global, &kernel, &mut resolver, target, &mut remarks) {
            Err(failure) => {
                let (stand_in, said) = gone(target, &failure).ok_or(failure)?;
                remarks.push(said);
                stand_in
            }
            Ok(found) => found,
        };
        for found in found {
            if !resolved.contains(&found) {
                resolved.push(found);
            }
        }
    }
    let watched = watch(&kernel, &resolved)?;
    let mut diagnosis = diagnose(&kernel, (!targets.is_empty()).then_some(resolved))?;
    if let Some(watched) = watched {
        diagnosis.leak_detection = leaks::judge(&watched, &mut diagnosis);
    }
    diagnosis.notes.extend(remarks);
    diagnosis.notes.extend(overdue(global, &kernel));
    Ok(diagnosis)
}

/// Reads the machine, then its processes and cgroups, or those of the targets.
fn diagnose(kernel: &Kernel, targets: Option<Vec<ResolvedTarget>>) -> Result<Diagnosis, Failure> {
    let (started, taken_at) = (Instant::now(), SystemTime::now());
    let mut buffer = Vec::new();
    let host = read_host(kernel, &mut buffer);
    let system = read_system(kernel, &mut buffer).map_err(unreadable_machine)?;
    let names = user_names(kernel);
    let (processes, unreadable) = if let Some(targets) = &targets {
        processes_of(kernel, targets, &names)
    } else {
        let name = |id| names.name(id).map(str::to_owned);
        let snapshot =
            full_snapshot(kernel, useful_threads(), &name).map_err(unreadable_machine)?;
        (snapshot.processes, snapshot.unreadable)
    };
    let privileged = rustix::process::geteuid().is_root();
    let mut remarks = notes::collect(&host, &system, &processes, unreadable, privileged);
    // Of a target, every process was found.
    let listing = process_listing(kernel);
    let hidden = targets.is_none() && listing != ProcessListing::Whole;
    if hidden {
        remarks.push(notes::hidden(listing, privileged).to_owned());
    }
    let cgroups = match &targets {
        None => all_cgroups(kernel, &mut remarks, &mut buffer),
        Some(targets) => cgroups_of(kernel, targets, &mut remarks, &mut buffer),
    };
    Ok(Diagnosis {
        schema: document::SCHEMA,
        host,
        system: system.totals,
        breakdown: system.breakdown,
        pressure: system.pressure,
        swap: Swap::new(
            &system.meminfo,
            system.swap_devices,
            system.zram,
            system.zswap,
        ),
        meminfo: system.meminfo,
        ksm: system.ksm.map(|state| Ksm {
            saved_bytes: state.saved(kernel.page_size).map(|saved| saved.get()),
            state,
        }),
        vmstat: system.vmstat.unwrap_or_default(),
        targets,
        processes,
        grouped_by: None,
        groups: None,
        cgroups,
        unreadable_processes: (!hidden).then_some(unreadable),
        recorded: false,
        // A clock before 1970 is one that nobody has set.
        taken_at_unix_seconds: taken_at
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64(),
        taken_in_seconds: started.elapsed().as_secs_f64(),
        taken_by_pid: own_pid(kernel),
        leak_detection: LeakDetection::default(),
        cold: None,
        notes: remarks,
    })
}

fn unreadable_machine(error: ReadError) -> Failure {
    let exit = if is_denied(&error) {
        Exit::NotPermitted
    } else {
        Exit::Failed
    };
    crate::roots::hint_at_procfs(Failure::from_error(exit, &error), &error)
}

/// The processes of the targets, each once, and how many could not be read in
/// full. Those that ended meanwhile are neither.
fn processes_of(
    kernel: &Kernel,
    targets: &[ResolvedTarget],
    names: &UserNames,
) -> (Vec<ProcessMemory>, u64) {
    let wanted: BTreeSet<ProcessId> = targets
        .iter()
        .flat_map(|target| target.processes.iter().copied())
        .collect();
    let mut scratch = Scratch::new(kernel);
    let mut processes = Vec::with_capacity(wanted.len());
    let mut unreadable = 0;
    for id in wanted {
        match read_process(kernel, id.pid, Detail::Full, &mut scratch) {
            // The pid may be another process by now.
            Ok(mut reading) if reading.memory.id == id => {
                unreadable += u64::from(reading.denied);
                let user = reading.memory.user_id.and_then(|id| names.name(id));
                reading.memory.user = user.map(str::to_owned);
                processes.push(reading.memory);
            }
            Ok(_) => {}
            Err(error) => unreadable += u64::from(!error.is_vanished()),
        }
    }
    (processes, unreadable)
}

/// The users in the passwd file beside procfs: it is the one of the machine
/// that is looked at.
fn user_names(kernel: &Kernel) -> UserNames {
    let beside = kernel.roots().procfs.parent();
    UserNames::read(&beside.unwrap_or(Path::new("/")).join("etc/passwd"))
}

fn all_cgroups(
    kernel: &Kernel,
    remarks: &mut Vec<String>,
    buffer: &mut Vec<u8>,
) -> Vec<CgroupMemory> {
    let root = CgroupPath::root();
    let tree = read_tree(kernel, &root, TreeBounds::default(), buffer);
    remark_on_tree(tree.unreadable, tree.cut, remarks);
    tree.groups
}

/// The targets' cgroups with what is below them, and every ancestor.
fn cgroups_of(
    kernel: &Kernel,
    targets: &[ResolvedTarget],
    remarks: &mut Vec<String>,
    buffer: &mut Vec<u8>,
) -> Vec<CgroupMemory> {
    let mut found: BTreeMap<CgroupPath, CgroupMemory> = BTreeMap::new();
    // What was read with everything below it.
    let mut whole: Vec<CgroupPath> = Vec::new();
    for target in targets {
        let Some(path) = &target.cgroup else { continue };
        if target.kind != TargetKind::Process {
            if below_one_of(path, &whole) {
                continue;
            }
            let tree = read_tree(kernel, path, TreeBounds::default(), buffer);
            if !tree.cut {
                whole.push(path.clone());
            }
            remark_on_tree(tree.unreadable, tree.cut, remarks);
            if tree.is_gone() {
                remarks.push(format!("{path} was removed while it was looked at"));
            }
            found.extend(
                tree.groups
                    .into_iter()
                    .map(|group| (group.path.clone(), group)),
            );
        }
        let mut next = Some(path.clone());
        while let Some(path) = next {
            if !found.contains_key(&path)
                && let Ok(group) = read_cgroup(kernel, &path, buffer)
            {
                found.insert(path.clone(), group);
            }
            next = path.parent();
        }
    }
    found.into_values().collect()
}

fn below_one_of(path: &CgroupPath, roots: &[CgroupPath]) -> bool {
    let mut next = Some(path.clone());
    while let Some(path) = next {
        if roots.contains(&path) {
            return true;
        }
        next = path.parent();
    }
    false
}

fn remark_on_tree(unreadable: u64, cut: bool, remarks: &mut Vec<String>) {
    if unreadable > 0 {
        remarks.push(format!(
            "{unreadable} cgroups could not be read: run as root to see them"
        ));
    }
    if cut {
        remarks.push("the cgroup tree is larger than what is read; a part is missing".to_owned());
    }
}
