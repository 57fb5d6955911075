//! Reads the machine for the view, again and again, at little cost.
//!
//! RSS of all processes comes from kept descriptors each time, PSS within a
//! budget of CPU time, and everything else of a process when it is new, when it
//! is on the screen and its memory changes, and now and then in turn. Never fails because of one
//! process: what vanished is left out, what may not be read is `None`.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use grey_model::{Bytes, CgroupPath, GroupBy, Pressure, ProcessId, ProcessMemory, TracePoint};
use grey_telemetry::cgroup::{CgroupGrowth, TreeBounds, read_tree};
use grey_telemetry::process::{
    Detail as Depth, PssTracker, RssTracker, Scratch, TrackedPss, read_process,
};
use grey_telemetry::system::read_system;
use grey_telemetry::user::UserNames;
use grey_telemetry::{Kernel, ReadError};
use rustix::time::{ClockId, clock_gettime};

use super::fold;
use super::follow::{Follow, JUDGED_AT_ONCE};
use super::known::KnownProcesses;
use super::shot::{
    CgroupRow, Classes, Detail, GroupRow, Key, ProcessRow, Shot, Stall, Unmeasured, held,
};
use crate::diagnose::document::Swap;

/// Of the interval, this part is spent on PSS at most: 0.5 % of one core. What
/// one look leaves of it is saved for processes that take longer.
const PSS_SHARE: u32 = 200;

/// The first time, all that fits into this is read, so that people need not
/// wait for PSS.
const FIRST_PSS: Duration = Duration::from_millis(250);

/// So many processes are looked at each time in turn, beside those on screen.
const IN_TURN: usize = 16;

/// The stalls of so many looks are kept.
const MOST_STALLS: usize = 240;

/// What the view wants to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// The groups, folded by this.
    pub(super) by: Option<GroupBy>,
    /// The control groups.
    pub(super) cgroups: bool,
    /// The processes on the screen, by pid.
    pub(super) visible: Vec<u32>,
    /// What is opened.
    pub(super) detail: Option<Key>,
}

/// Reads one kernel.
#[derive(Debug)]
pub(super) struct Sampler {
    kernel: Kernel,
    cap: Duration,
    tracker: PssTracker,
    scratch: Scratch,
    buffer: Vec<u8>,
    known: KnownProcesses,
    follow: Follow,
    stalls: Stalls,
    started: Instant,
    interval: Duration,
    /// When readings were kept the last time.
    kept_at: Option<Duration>,
    looks: u64,
    turn: usize,
}

impl Sampler {
    /// Reads `kernel` about every `interval`.
    pub(super) fn new(kernel: Kernel, interval: Duration) -> Self {
        // The passwd file beside procfs is the one of the machine looked at.
        let beside = kernel.roots().procfs.parent().unwrap_or(Path::new("/"));
        Self {
            known: KnownProcesses::new(UserNames::read(&beside.join("etc/passwd"))),
            cap: interval / PSS_SHARE,
            tracker: PssTracker::new(kernel.page_size, RssTracker::new()),
            scratch: Scratch::new(&kernel),
            buffer: Vec::new(),
            follow: Follow::default(),
            stalls: Stalls::default(),
            started: Instant::now(),
            interval,
            kept_at: None,
            looks: 0,
            turn: 0,
            kernel,
        }
    }

    /// Looks once.
    ///
    /// # Errors
    /// [`ReadError`] when meminfo or the list of processes cannot be read.
    pub(super) fn look(&mut self, wish: &Wish) -> Result<Shot, ReadError> {
        let at = self.started.elapsed();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.looks += 1;
        let keeps = self.keeps(at);
        self.follow.begin(keeps);
        let system = read_system(&self.kernel, &mut self.buffer)?;
        if keeps {
            self.stalls.take(at, system.pressure.as_ref());
        }
        let cap = if self.looks == 1 { FIRST_PSS } else { self.cap };
        let tick = self.tracker.tick(&self.kernel.proc, cap)?;
        let mut processes = self.processes(wish);
        for row in &mut processes {
            let key = Key::Process(row.memory.id);
            if let Some(amount) = held(&row.memory) {
                let life = row.life;
                self.follow.take(key, TracePoint { at, amount, life });
            }
        }
        let boottime = Duration::try_from(clock_gettime(ClockId::Boottime)).ok();
        let since_boot_seconds = boottime.map(|boottime| boottime.as_secs());
        let groups = wish
            .by
            .map(|by| (by, self.groups(&processes, by, at, since_boot_seconds)));
        let wants_tree = wish.cgroups || matches!(wish.detail, Some(Key::Cgroup(_)));
        let cgroups = wants_tree.then(|| self.cgroups(at));
        let (by, tree) = (wish.by, wants_tree);
        self.follow.forget_gone(|key| match key {
            Key::Process(_) => true,
            // Groups of another fold are of no use any more.
            Key::Group(..) => by.is_some(),
            Key::Cgroup(_) => tree,
        });
        self.follow.judge(JUDGED_AT_ONCE);
        let mut shot = Shot {
            at_unix_ms: milliseconds(now.unwrap_or_default()),
            since_boot_seconds,
            totals: system.totals,
            classes: Classes::of(&system.breakdown),
            pressure: system.pressure,
            stalls: self.stalls.kept.clone(),
            swap: Swap::new(
                &system.meminfo,
                system.swap_devices,
                system.zram,
                system.zswap,
            ),
            processes,
            unreadable: tick.unreadable.saturating_add(tick.rss.unreadable),
            unmeasured: Unmeasured {
                waiting: tick.waiting,
                too_large: tick.out_of_reach,
            },
            groups,
            other_folds: Vec::new(),
            cgroups,
            detail: None,
        };
        self.add_trends(&mut shot);
        shot.detail = wish.detail.as_ref().map(|key| self.detail(key));
        Ok(shot)
    }

    /// Whether the readings of this look are kept: one that somebody wants
    /// between two others is not.
    fn keeps(&mut self, at: Duration) -> bool {
        let keeps = self
            .kept_at
            .is_none_or(|last| at.saturating_sub(last) >= self.interval / 2);
        if keeps {
            self.kept_at = Some(at);
        }
        keeps
    }

    /// All processes; the facts of those that are new, in turn, or on the screen
    /// with other memory than before are read now.
    fn processes(&mut self, wish: &Wish) -> Vec<ProcessRow> {
        let tracked = self.tracker.processes();
        let count = tracked.len().max(1);
        let first_in_turn = self.turn % count;
        self.turn = (first_in_turn + IN_TURN) % count;
        let now = Instant::now();
        self.known.begin();
        let mut rows = Vec::with_capacity(tracked.len());
        for (index, process) in tracked.iter().enumerate() {
            let in_turn = (index + count - first_in_turn) % count < IN_TURN;
            let serial = process.serial();
            let moves = || !self.known.stands_still(serial, process.statm());
            let is_due = in_turn || wish.visible.contains(&process.pid) && moves();
            let recalled = match is_due {
                true => None,
                false => self.known.recall(serial),
            };
            let remembered = if let Some(found) = recalled {
                found
            } else {
                let pid = process.pid;
                let Ok(reading) = read_process(&self.kernel, pid, Depth::Basic, &mut self.scratch)
                else {
                    // It is gone, or not even its name may be read.
                    self.known.forget(serial);
                    continue;
                };
                self.known.remember(serial, process.statm(), reading)
            };
            rows.push(row(process, remembered, self.kernel.page_size, now));
        }
        self.known.forget_gone();
        rows
    }

    fn groups(
        &mut self,
        rows: &[ProcessRow],
        by: GroupBy,
        at: Duration,
        since_boot_seconds: Option<u64>,
    ) -> Vec<GroupRow> {
        let held: HashMap<_, _> = rows
            .iter()
            .filter_map(|row| Some((row.memory.id, (held(&row.memory)?, row.life))))
            .collect();
        let groups = fold::rows(rows, by, since_boot_seconds);
        for row in &groups {
            self.follow_group(&row.group, by, at, &held);
        }
        groups
    }

    /// A group whose oldest member is another one, or runs another program, was
    /// restarted.
    fn follow_group(
        &mut self,
        group: &grey_model::ProcessGroup,
        by: GroupBy,
        at: Duration,
        held: &HashMap<ProcessId, (Bytes, u64)>,
    ) {
        let members = || {
            group
                .members
                .iter()
                .filter_map(|id| Some((id, held.get(id)?)))
        };
        let oldest = members().min_by_key(|(id, _)| (id.start_time_ticks, id.pid));
        let point = TracePoint {
            at,
            amount: members().map(|(_, (amount, _))| *amount).sum(),
            life: oldest.map_or(0, |(_, (_, life))| *life),
        };
        self.follow.take(Key::Group(by, group.name.clone()), point);
    }

    fn cgroups(&mut self, at: Duration) -> Vec<CgroupRow> {
        let root = CgroupPath::root();
        let tree = read_tree(&self.kernel, &root, TreeBounds::default(), &mut self.buffer);
        let mut rows = Vec::with_capacity(tree.groups.len());
        for memory in tree.groups {
            self.follow.take_cgroup(at, CgroupGrowth::of(&memory));
            rows.push(CgroupRow {
                memory,
                trend: super::shot::Trend::default(),
            });
        }
        rows
    }

    fn add_trends(&self, shot: &mut Shot) {
        add_trends(&self.follow, shot);
    }

    fn detail(&mut self, key: &Key) -> Detail {
        let process = match key {
            Key::Process(id) => {
                let read = read_process(&self.kernel, id.pid, Depth::Full, &mut self.scratch);
                // The pid may be another process by now.
                let memory = read.ok().map(|reading| reading.memory);
                memory
                    .filter(|memory| memory.id == *id)
                    .map(|memory| self.known.named(memory))
            }
            Key::Group(..) | Key::Cgroup(_) => None,
        };
        Detail {
            key: key.clone(),
            process,
            moved: self.follow.moved(key),
        }
    }
}

/// Puts into each row how it changes.
pub(super) fn add_trends(follow: &Follow, shot: &mut Shot) {
    for row in &mut shot.processes {
        row.trend = follow.trend(&Key::Process(row.memory.id));
    }
    if let Some((by, groups)) = &mut shot.groups {
        for row in groups {
            row.trend = follow.trend(&Key::Group(*by, row.group.name.clone()));
        }
    }
    for row in shot.cgroups.iter_mut().flatten() {
        row.trend = follow.trend(&Key::Cgroup(row.memory.path.clone()));
    }
}

/// A process as it is now: its facts, and the numbers of this look.
fn row(
    process: &TrackedPss,
    (mut memory, life): (ProcessMemory, u64),
    page_size: grey_model::PageSize,
    now: Instant,
) -> ProcessRow {
    let statm = process.statm();
    if statm.has_memory() {
        memory.rss = Some(statm.resident.bytes(page_size));
        memory.rss_anon = Some(statm.anonymous().bytes(page_size));
        memory.pss = process.pss(page_size);
        memory.uss = process.uss(page_size);
    }
    let pss_age = memory.pss.and(process.read_at());
    ProcessRow {
        memory,
        life,
        pss_age: pss_age.map(|at| now.saturating_duration_since(at)),
        trend: super::shot::Trend::default(),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The share of time lost to stalls, look after look.
#[derive(Debug, Default)]
struct Stalls {
    kept: Vec<Stall>,
    last: Option<(Duration, u64, Option<u64>)>,
}

impl Stalls {
    /// The first time there is only the kernel's own average.
    fn take(&mut self, at: Duration, pressure: Option<&Pressure>) {
        let Some(pressure) = pressure else { return };
        let some = pressure.some.total_us;
        let full = pressure.full.map(|full| full.total_us);
        let stall = match self.last {
            Some((then, some_then, full_then)) => {
                let elapsed = at.saturating_sub(then);
                let share = |now: u64, then: u64| stalled(now.saturating_sub(then), elapsed);
                Stall {
                    some: share(some, some_then),
                    full: full
                        .zip(full_then)
                        .map_or(0.0, |(now, then)| share(now, then)),
                }
            }
            None => Stall {
                some: pressure.some.avg10.0,
                full: pressure.full.map_or(0.0, |full| full.avg10.0),
            },
        };
        self.last = Some((at, some, full));
        if self.kept.len() >= MOST_STALLS {
            self.kept.remove(0);
        }
        self.kept.push(stall);
    }
}

/// Microseconds of stalls in a time, in percent of it.
pub(super) fn stalled(microseconds: u64, elapsed: Duration) -> f64 {
    let elapsed = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    let share = Bytes(microseconds).percent_of(Bytes(elapsed));
    share.map_or(0.0, |share| share.0.min(100.0))
}

#[cfg(test)]
mod tests;
