//! Reads all processes and cgroups again and again, until the window is over
//! or somebody presses Ctrl-C.
//!
//! Never fails because of one process or one cgroup. Ctrl-C ends the window,
//! not the run; a second one, and one after the window, ends the run.

use std::time::{Duration, Instant};

use grey_model::{CgroupPath, KernelText, ProcessId, ResolvedTarget};
use grey_telemetry::Kernel;
use grey_telemetry::cgroup::{CgroupGrowth, TreeBounds, read_growth_tree};
use grey_telemetry::proc::meminfo::read_meminfo;
use grey_telemetry::process::{
    AnonymousMemory, Detail, ProcessList, Scratch, read_anonymous, read_process,
};

use super::document::GroupKind;
use super::follow::{Facts, Followed};
use super::progress::WindowBar;
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::scope::Scope;

/// At most this many readings: a longer window is read less often.
pub(super) const MOST_READINGS: u32 = 720;

/// Ctrl-C is noticed within this time.
const ATTENTION: Duration = Duration::from_millis(100);

/// What was read.
pub(crate) struct Watched {
    pub(super) followed: Followed,
    /// How long it was asked for.
    pub(super) asked: Duration,
    /// From the first reading to the last.
    pub(super) lasted: Duration,
    /// Between readings.
    pub(super) interval: Duration,
    /// How many there were.
    pub(super) readings: u64,
    /// Whether somebody ended it.
    pub(super) ended_early: bool,
    /// Processes of the last reading that may not be read.
    pub(super) unreadable: u64,
    /// From the first reading to the last one that had cgroups.
    pub(super) lasted_of_cgroups: Duration,
    /// The same for groups.
    pub(super) lasted_of_groups: Duration,
    /// Whether the last reading is of now: only then the room that there is now
    /// tells when it will be used up.
    pub(super) is_now: bool,
    /// Whether each group is the sum of all its processes.
    pub(super) groups_are_whole: bool,
    /// What else is to be said about it.
    pub(super) remarks: Vec<String>,
}

/// Looks for `window`, every `interval`, at everything or at the targets.
///
/// # Errors
/// A [`Failure`] when the processes cannot be listed or Ctrl-C cannot be
/// watched for.
pub(crate) fn watch(
    kernel: &Kernel,
    targets: &[ResolvedTarget],
    window: Duration,
    interval: Duration,
    visible: bool,
) -> Result<Watched, Failure> {
    let mut interrupt = Interrupt::default();
    interrupt.watch().map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("failed to watch for the interrupt signal: {error}"),
        )
    })?;
    let interval = interval.max(window / MOST_READINGS);
    let bar = WindowBar::new(visible, window);
    let mut reader = Reader::new(kernel, targets);
    let mut watched = Watched {
        followed: Followed::default(),
        asked: window,
        lasted: Duration::ZERO,
        interval,
        readings: 0,
        ended_early: false,
        unreadable: 0,
        lasted_of_cgroups: Duration::ZERO,
        lasted_of_groups: Duration::ZERO,
        is_now: true,
        groups_are_whole: true,
        remarks: Vec::new(),
    };
    let started = Instant::now();
    let mut due = Duration::ZERO;
    loop {
        let at = started.elapsed();
        watched.unreadable = reader.read(&mut watched.followed, at)?;
        watched.readings += 1;
        watched.lasted = at;
        watched.lasted_of_cgroups = at;
        watched.lasted_of_groups = at;
        // A reading that took longer than an interval leaves some out.
        while due <= started.elapsed() {
            due += interval;
        }
        if due > window {
            break;
        }
        while started.elapsed() < due && !interrupt.is_raised() {
            bar.update(started.elapsed(), watched.followed.running());
            let left = due.saturating_sub(started.elapsed());
            std::thread::sleep(left.min(ATTENTION));
        }
        if interrupt.is_raised() {
            watched.ended_early = true;
            break;
        }
    }
    bar.finish();
    interrupt.release();
    Ok(watched)
}

/// Buffers, and what was asked for.
struct Reader<'kernel> {
    kernel: &'kernel Kernel,
    list: ProcessList,
    scratch: Scratch,
    buffer: Vec<u8>,
    readings: Vec<AnonymousMemory>,
    scope: Scope,
}

impl<'kernel> Reader<'kernel> {
    fn new(kernel: &'kernel Kernel, targets: &[ResolvedTarget]) -> Self {
        Self {
            kernel,
            list: ProcessList::new(),
            scratch: Scratch::new(kernel),
            buffer: Vec::new(),
            readings: Vec::new(),
            scope: Scope::of(targets),
        }
    }

    /// One reading of everything; how many processes may not be read.
    fn read(&mut self, followed: &mut Followed, at: Duration) -> Result<u64, Failure> {
        let mut unreadable = 0;
        self.readings.clear();
        let meminfo = read_meminfo(self.kernel, &mut self.buffer);
        let meminfo = meminfo.unwrap_or_default();
        let pids = self
            .list
            .refresh(&self.kernel.proc)
            .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
        for &pid in pids {
            match read_anonymous(self.kernel, pid, &mut self.buffer) {
                Ok(Some(reading)) => self.readings.push(reading),
                Ok(None) => {}
                Err(error) => unreadable += u64::from(!error.is_vanished()),
            }
        }
        let Self {
            kernel,
            scratch,
            readings,
            scope,
            ..
        } = self;
        followed.take_processes(at, readings, meminfo.shmem, |id| {
            facts(kernel, id, scope, scratch)
        });
        for tree in self.scope.trees() {
            let bounds = TreeBounds::default();
            let mut groups = read_growth_tree(self.kernel, tree, bounds, &mut self.buffer);
            // By version 1 none is accounted; what there is of it grows all the same.
            if groups.is_empty() && *tree == CgroupPath::root() {
                groups.push(CgroupGrowth::of_machine(&meminfo));
            }
            followed.take_cgroups(at, &groups);
        }
        Ok(unreadable)
    }
}

/// Who a process is; `None` when it ended meanwhile or its pid is another's.
fn facts(kernel: &Kernel, id: ProcessId, scope: &Scope, scratch: &mut Scratch) -> Option<Facts> {
    let process = read_process(kernel, id.pid, Detail::Basic, scratch)
        .ok()?
        .memory;
    if process.id != id {
        return None;
    }
    let group = if let Some(unit) = process.unit {
        (GroupKind::Unit, KernelText::from(&unit))
    } else if let Some(container) = process.container {
        (GroupKind::Container, KernelText::from(&container))
    } else {
        (GroupKind::Program, process.name.clone())
    };
    Some(Facts {
        wanted: scope.has(id, &process.name, process.cgroup.as_ref()),
        name: process.name,
        cgroup: process.cgroup,
        command_line: process.command_line,
        group,
    })
}
