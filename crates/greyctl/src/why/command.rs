//! Searches the logs, explains the kills, and shows those that were asked for.
//!
//! Never changes anything.

use grey_model::{CgroupPath, CountedKills, Kill, Moment, NobodyKilled, Target};
use grey_policy::{
    KillFacts, TimedRecord, explain_exit_code, explain_kills, explain_nobody_killed, named_targets,
    unlogged_kills,
};
use grey_telemetry::Kernel;
use grey_telemetry::cgroup::mount::find_cgroup_mode;
use grey_telemetry::cgroup::tree::{TreeBounds, read_tree};
use grey_telemetry::target::{ResolveTargetError, Resolver};
use jiff::Timestamp;

use super::clock::{Clock, moment, timestamp};
use super::document::{self, KillsDocument};
use super::grown;
use super::options::WhyOptions;
use super::report;
use super::sources;
use super::{target, victims};
use crate::cli::GlobalOptions;
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::recommend::{at_places, with_sudo};
use crate::roots::open_kernel;

/// Why nothing had grown before a kill in a saved log.
const NOT_OURS: &str = "what had grown before a kill was not looked for: a saved log may be another \
                        machine's, and history is of this one";

/// The kernel keeps this much of a process's name.
const NAME_LENGTH: usize = 15;

/// Runs `why`.
///
/// # Errors
/// A [`Failure`] when no log can be read, or the target is not found.
pub(crate) fn run(
    global: &GlobalOptions,
    options: &WhyOptions,
    output: &mut Output,
) -> Result<Exit, Failure> {
    match &options.target {
        Some(named) => target::run(global, options, named, output),
        None => killed(global, options, output),
    }
}

fn killed(
    global: &GlobalOptions,
    options: &WhyOptions,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let clock = Clock::read();
    let since = options
        .since
        .as_ref()
        .map(|since| since.timestamp(clock.now, &clock.zone));
    if let Some(since) = since.filter(|since| clock.is_ahead(*since, options.log.is_some())) {
        return Err(in_the_future(since, &clock));
    }
    let kernel = open_kernel(global)?;
    let mut found = match &options.log {
        Some(path) => sources::saved(path, &clock)?,
        None => {
            // Earlier boots are searched only when they were asked for.
            let since =
                since.filter(|since| clock.boot().is_none_or(|boot| *since < timestamp(boot)));
            sources::of_this_machine(options.kmsg.as_deref(), kernel.has_systemd(), since, &clock)?
        }
    };
    // A saved log may be of another machine.
    let is_ours = options.log.is_none();
    if is_ours {
        victims::fill(global, &mut found.records);
    }
    let missing = match is_ours {
        true => missing(&kernel, &found.records),
        false => Vec::new(),
    };
    let facts = KillFacts {
        page_size: kernel.page_size,
        has_systemd: kernel.has_systemd(),
        kernel_log_searched: found.has_kernel_lines,
        has_limits: !is_ours || find_cgroup_mode(&kernel, &mut Vec::new()).has_v2_memory(),
        missing: &missing,
    };
    let unlogged = match is_ours {
        false => None,
        true => counted(&kernel, &found.records, clock.boot()),
    };
    let since = since.and_then(moment);
    let mut kills = explain_kills(&found.records, &facts);
    let mut nobody_killed = explain_nobody_killed(&found.records, &facts);
    let undated = kills.iter().filter(|kill| kill.at.is_none()).count()
        + nobody_killed
            .iter()
            .filter(|case| case.at.is_none())
            .count();
    kills.retain(|kill| is_wanted(kill, options, since));
    nobody_killed.retain(|case| concerns(case, options, since));
    let is_root = rustix::process::geteuid().is_root();
    let advice = kills.iter_mut().flat_map(|kill| &mut kill.advice);
    for line in advice.chain(nobody_killed.iter_mut().flat_map(|case| &mut case.advice)) {
        *line = at_places(global, line);
        if !is_root {
            *line = with_sudo(line);
        }
    }
    let mut notes = std::mem::take(&mut found.notes);
    if is_ours && !kills.is_empty() {
        notes.extend(grown::fill(global, &mut kills));
    }
    notes.extend(time_notes(&kills, &clock, undated, since.is_some()));
    if !is_ours && !kills.is_empty() {
        notes.push(NOT_OURS.to_owned());
    }
    let document = KillsDocument {
        schema: document::SCHEMA,
        exit_code: options
            .exit_code
            .map(|code| explain_exit_code(code, &kills, found.has_kernel_lines)),
        unlogged,
        since,
        searched: found.searched,
        notes,
        kills,
        nobody_killed,
    };
    if options.json {
        output.json(&document)?;
    } else {
        output.text(&report::render(
            &document,
            options,
            &clock.zone,
            output.width(),
        ))?;
    }
    Ok(Exit::Success)
}

fn in_the_future(since: Timestamp, clock: &Clock) -> Failure {
    let since = report::local(since, &clock.zone);
    Failure::new(
        Exit::Usage,
        format!("no log can tell of kills since {since}: that is in the future"),
    )
    .hint("--since is how long ago (10m, 2h), a time of the last day (10:04), or a date")
}

/// So many things that kills name are looked for: there is a limit to what a log
/// can have us do.
const MOST_LOOKED_FOR: usize = 1000;

/// What of all that advice may name is not there now, or is more than one; of the
/// last that are told of, where there are very many.
fn missing(kernel: &Kernel, records: &[TimedRecord]) -> Vec<Target> {
    let named = named_targets(records, kernel.has_systemd());
    let mut resolver = Resolver::new(kernel);
    let mut is_missing = |target: &Target| match resolver.resolve(target) {
        // Of what cannot be read nobody knows.
        Ok(_) | Err(ResolveTargetError::Read { .. }) => false,
        Err(_) => true,
    };
    let last = named.into_iter().rev().take(MOST_LOOKED_FOR);
    last.filter(|target| is_missing(target)).collect()
}

/// What the counters of the control groups have and the log does not; `None`
/// where there are no counters.
fn counted(
    kernel: &Kernel,
    records: &[TimedRecord],
    boot: Option<Moment>,
) -> Option<Vec<CountedKills>> {
    let tree = read_tree(
        kernel,
        &CgroupPath::root(),
        TreeBounds::default(),
        &mut Vec::new(),
    );
    if tree.missing.is_some() {
        return None;
    }
    // The counters are of this boot.
    let of_this_boot = |record: &&TimedRecord| match (record.at, boot) {
        (Some(at), Some(boot)) => at >= boot,
        _ => true,
    };
    let records: Vec<TimedRecord> = records.iter().filter(of_this_boot).cloned().collect();
    Some(unlogged_kills(&tree.groups, &records))
}

/// Of what has no time nobody knows that it is too old.
fn is_since(at: Option<Moment>, since: Option<Moment>) -> bool {
    match (at, since) {
        (Some(at), Some(since)) => at >= since,
        _ => true,
    }
}

/// Whether it is about those who were asked for: a machine that stops ends all.
fn concerns(case: &NobodyKilled, options: &WhyOptions, since: Option<Moment>) -> bool {
    let in_cgroup = |name: &String| {
        let limited = case.limit_cgroup.as_ref();
        limited.is_some_and(|path| is_within(path, name))
    };
    let is_theirs = match &options.name {
        Some(name) => in_cgroup(name),
        None => options.pid.is_none(),
    };
    is_since(case.at, since) && (is_theirs || case.machine_stopped != Some(false))
}

fn is_wanted(kill: &Kill, options: &WhyOptions, since: Option<Moment>) -> bool {
    let is_pid = options.pid.is_none_or(|pid| kill.pid == Some(pid));
    let is_named = options
        .name
        .as_ref()
        .is_none_or(|name| is_called(kill, name));
    is_since(kill.at, since) && is_pid && is_named
}

/// Whether the process, its unit or its cgroup has this name; a unit and its cgroup
/// also without the `.service`, as for systemctl.
fn is_called(kill: &Kill, name: &str) -> bool {
    let in_cgroup = kill
        .cgroup
        .as_ref()
        .is_some_and(|path| is_within(path, name));
    let of_unit = kill
        .unit
        .as_ref()
        .is_some_and(|it| is_unit(it.as_bytes(), name));
    let name = name.as_bytes();
    let is_process = kill.name.as_ref().is_some_and(|it| it.as_bytes() == name);
    let is_cut = kill
        .name
        .as_ref()
        .is_some_and(|it| name.len() > NAME_LENGTH && it.as_bytes() == &name[..NAME_LENGTH]);
    is_process || is_cut || of_unit || in_cgroup
}

fn is_unit(it: &[u8], name: &str) -> bool {
    it == name.as_bytes() || it.strip_suffix(b".service") == Some(name.as_bytes())
}

fn is_within(path: &CgroupPath, name: &str) -> bool {
    path.as_bytes() == name.as_bytes() || path.components().any(|part| is_unit(part, name))
}

fn time_notes(kills: &[Kill], clock: &Clock, undated: usize, has_since: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let is_doubtful = |kill: &Kill| kill.at_uncertain_by_seconds.is_some_and(|by| by > 0.0);
    if kills.iter().any(is_doubtful) {
        notes.push(format!(
            "the machine was suspended for {} since boot, in which the kernel's clock stood still: \
             times may be up to that much too late",
            grey_model::roughly(clock.suspended())
        ));
    }
    if undated > 0 && has_since {
        notes.push(
            "kills whose time the log does not say, or only since an unknown boot, are shown \
             whatever --since says"
                .to_owned(),
        );
    }
    notes
}
