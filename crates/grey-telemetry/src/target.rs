//! Finds what a person points at: a process, a cgroup, a unit.
//!
//! Never guesses: what fits several things is listed, and nothing is chosen.
//! Whether a target may be touched is not decided here. However many targets
//! one [`Resolver`] is asked for, it lists the processes and the cgroups once.

use std::collections::HashMap;

use grey_model::{
    CgroupPath, KernelText, Owner, ProcessId, ProcessMemory, ProcessState, ResolvedTarget, Target,
    TargetKind, shell_word,
};

use crate::cgroup::mount::open_process_hierarchy;
use crate::cgroup::processes::{open_cgroup, read_processes_of, read_subtree_processes};
use crate::cgroup::tree::{TreeBounds, visit};
use crate::process::stat::parse_stat;
use crate::process::status::parse_status;
use crate::process::{Detail, ProcessList, Scratch, read_process};
use crate::read::{KernelDirectory, ReadError};
use crate::roots::Kernel;

/// The most matches that an error lists.
pub const MOST_LISTED: usize = 20;

/// The kernel keeps this many bytes of a command name.
pub const COMMAND_NAME_BYTES: usize = 15;

/// How many parents are followed to find out whose descendant a process is.
const MOST_GENERATIONS: usize = 4096;

/// A target could not be found, or is not one thing.
#[derive(Debug, thiserror::Error)]
pub enum ResolveTargetError {
    /// The pid is not in use.
    #[error("no process has the pid {pid}")]
    NoSuchProcess {
        /// The pid.
        pid: u32,
    },
    /// The number is that of a thread: what is set by it would be set for the
    /// whole process, and forgotten with the thread.
    #[error("{thread} is a thread of process {process}")]
    Thread {
        /// The number.
        thread: u32,
        /// Whose thread it is.
        process: u32,
    },
    /// No process has the command name.
    #[error("no process is called `{typed}`")]
    NoSuchName {
        /// What was typed.
        typed: String,
    },
    /// No cgroup has the path.
    #[error("no cgroup has the path `{typed}`")]
    NoSuchCgroup {
        /// What was typed.
        typed: String,
    },
    /// No unit of the name has a cgroup.
    #[error("no unit `{typed}` is running")]
    NoSuchUnit {
        /// What was typed.
        typed: String,
    },
    /// A bare word that names neither a process nor a cgroup.
    #[error("`{typed}` is neither the name of a process nor the path of a cgroup")]
    NoSuchThing {
        /// What was typed.
        typed: String,
    },
    /// Several processes have the command name.
    #[error("`{typed}` is the name of {} processes", matches.len() + more)]
    Ambiguous {
        /// What was typed.
        typed: String,
        /// Some of them with their command lines, by pid.
        matches: Vec<(ProcessId, KernelText)>,
        /// How many further ones there are.
        more: usize,
    },
    /// Several cgroups have the unit's name.
    #[error("`{typed}` is the name of {} cgroups", paths.len() + more)]
    AmbiguousUnit {
        /// What was typed.
        typed: String,
        /// Some of their paths.
        paths: Vec<CgroupPath>,
        /// How many further ones there are.
        more: usize,
    },
    /// A bare word that names both a process and a cgroup.
    #[error("`{typed}` is the name of a process and the path of a cgroup")]
    ProcessOrCgroup {
        /// What was typed.
        typed: String,
    },
    /// There are no control groups to look in.
    #[error("`{typed}` names a cgroup, and no control groups for memory are mounted")]
    NoCgroups {
        /// What was typed.
        typed: String,
    },
    /// The kernel did not let us look.
    #[error("failed to look for `{typed}`")]
    Read {
        /// What was typed.
        typed: String,
        /// Why.
        #[source]
        source: ReadError,
    },
}

impl ResolveTargetError {
    /// What to do next, where something can be done.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ambiguous { .. } => Some(
                "give the pid of one of them, or the unit or cgroup that holds all of them"
                    .to_owned(),
            ),
            Self::AmbiguousUnit { .. } => Some("give one of the paths".to_owned()),
            Self::ProcessOrCgroup { typed } => {
                let word = |kind: &str| shell_word(format!("{kind}:{typed}").as_bytes());
                Some(format!(
                    "say which: --target {} or --target {}",
                    word("name"),
                    word("cgroup")
                ))
            }
            Self::NoSuchUnit { typed } => Some(format!(
                "see whether it runs: systemctl status -- {}",
                shell_word(typed.as_bytes())
            )),
            Self::NoSuchName { .. } | Self::NoSuchThing { .. } => Some(
                "a command name is compared whole, and the kernel keeps 15 bytes of it; \
                 see the names with: ps -e -o pid,comm"
                    .to_owned(),
            ),
            Self::Thread { process, .. } => {
                Some(format!("name the whole process: --target {process}"))
            }
            Self::NoCgroups { .. } => Some("name a process by its pid instead".to_owned()),
            Self::NoSuchProcess { .. } | Self::NoSuchCgroup { .. } | Self::Read { .. } => None,
        }
    }
}

/// Finds the one thing that `target` names.
///
/// # Errors
/// [`ResolveTargetError`] when there is no such thing, or more than one.
pub fn resolve_target(
    kernel: &Kernel,
    target: &Target,
) -> Result<ResolvedTarget, ResolveTargetError> {
    Resolver::new(kernel).resolve(target)
}

/// A pid, and the command name of its process.
type Named = (u32, Box<[u8]>);

/// Finds what people point at, of one instant: each process and the tree of
/// cgroups are as they were when they were first asked for.
pub struct Resolver<'kernel> {
    kernel: &'kernel Kernel,
    typed: String,
    scratch: Scratch,
    buffer: Vec<u8>,
    /// Every process.
    names: Option<Vec<Named>>,
    /// Every cgroup.
    cgroups: Option<Vec<CgroupPath>>,
    /// Each process that was asked for, and its parent; `None`: it was gone.
    identities: HashMap<u32, Option<(ProcessId, u32)>>,
}

impl<'kernel> Resolver<'kernel> {
    /// One that has looked at nothing yet.
    #[must_use]
    pub fn new(kernel: &'kernel Kernel) -> Self {
        Self {
            kernel,
            typed: String::new(),
            scratch: Scratch::new(kernel),
            buffer: Vec::new(),
            names: None,
            cgroups: None,
            identities: HashMap::new(),
        }
    }

    /// Finds the one thing that `target` names.
    ///
    /// # Errors
    /// [`ResolveTargetError`] when there is no such thing, or more than one.
    pub fn resolve(&mut self, target: &Target) -> Result<ResolvedTarget, ResolveTargetError> {
        self.typed = target.to_string();
        match target {
            Target::Pid(pid) => self.pid(*pid),
            Target::Name(name) => {
                let matches = self.processes_called(name.as_bytes())?;
                if matches.is_empty() {
                    let typed = self.typed.clone();
                    return Err(ResolveTargetError::NoSuchName { typed });
                }
                self.only_one(matches)
            }
            Target::Cgroup(path) => self.cgroup(path.clone()),
            Target::Unit(unit) => self.unit(unit),
            Target::Word(word) => self.word(word),
        }
    }

    fn pid(&mut self, pid: u32) -> Result<ResolvedTarget, ResolveTargetError> {
        match self.look_at(pid) {
            Ok(process) => match self.process_of_thread(pid) {
                Some(process) => Err(ResolveTargetError::Thread {
                    thread: pid,
                    process,
                }),
                None => Ok(self.process(process)),
            },
            Err(error) if error.is_vanished() => Err(ResolveTargetError::NoSuchProcess { pid }),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn word(&mut self, word: &str) -> Result<ResolvedTarget, ResolveTargetError> {
        let matches = self.processes_called(word.as_bytes())?;
        let cgroup = CgroupPath::new(word.as_bytes()).filter(|path| self.has_cgroup(path));
        match (matches.is_empty(), cgroup) {
            (true, None) => Err(ResolveTargetError::NoSuchThing {
                typed: self.typed.clone(),
            }),
            (true, Some(path)) => self.cgroup(path),
            (false, None) => self.only_one(matches),
            (false, Some(_)) => Err(ResolveTargetError::ProcessOrCgroup {
                typed: self.typed.clone(),
            }),
        }
    }

    fn cgroup(&mut self, path: CgroupPath) -> Result<ResolvedTarget, ResolveTargetError> {
        let typed = self.typed.clone();
        if open_process_hierarchy(self.kernel, &mut self.buffer).is_none() {
            return Err(ResolveTargetError::NoCgroups { typed });
        }
        if !self.has_cgroup(&path) {
            return Err(ResolveTargetError::NoSuchCgroup { typed });
        }
        self.group(path, TargetKind::Cgroup)
    }

    fn unit(&mut self, unit: &str) -> Result<ResolvedTarget, ResolveTargetError> {
        let typed = self.typed.clone();
        let Some(root) = open_process_hierarchy(self.kernel, &mut self.buffer) else {
            return Err(ResolveTargetError::NoCgroups { typed });
        };
        let all = self.cgroups.get_or_insert_with(|| all_cgroups(&root));
        let is_it = |path: &&CgroupPath| path.name() == Some(unit.as_bytes());
        let mut paths: Vec<CgroupPath> = all.iter().filter(is_it).cloned().collect();
        let more = paths.len().saturating_sub(MOST_LISTED);
        match paths.len() {
            0 => Err(ResolveTargetError::NoSuchUnit { typed }),
            1 => self.group(paths.remove(0), TargetKind::Unit),
            _ => {
                paths.truncate(MOST_LISTED);
                Err(ResolveTargetError::AmbiguousUnit { typed, paths, more })
            }
        }
    }

    /// All processes whose command name is `name`; the dead that wait to be
    /// collected only when nobody else is called so.
    fn processes_called(&mut self, name: &[u8]) -> Result<Vec<ProcessMemory>, ResolveTargetError> {
        let wanted = &name[..name.len().min(COMMAND_NAME_BYTES)];
        let called: Vec<u32> = self
            .names()?
            .iter()
            .filter(|(_, comm)| **comm == *wanted || **comm == *name)
            .map(|(pid, _)| *pid)
            .collect();
        let mut found: Vec<ProcessMemory> = called
            .into_iter()
            .filter_map(|pid| self.look_at(pid).ok())
            .collect();
        let is_dead = |process: &ProcessMemory| {
            matches!(process.state, ProcessState::Zombie | ProcessState::Dead)
        };
        if !found.iter().all(is_dead) {
            found.retain(|process| !is_dead(process));
        }
        found.sort_unstable_by_key(|process| process.id.pid);
        Ok(found)
    }

    /// The command names of all processes, read when they are first asked for.
    fn names(&mut self) -> Result<&[Named], ResolveTargetError> {
        if self.names.is_none() {
            let mut list = ProcessList::new();
            let pids = match list.refresh(&self.kernel.proc) {
                Ok(pids) => pids,
                Err(source) => return Err(self.failed(source)),
            };
            let read = |pid: &u32| {
                let file = format!("{pid}/comm");
                let comm = self.kernel.proc.read(file, &mut self.buffer).ok()?;
                let comm = comm.strip_suffix(b"\n").unwrap_or(comm);
                Some((*pid, Box::from(comm)))
            };
            self.names = Some(pids.iter().filter_map(read).collect());
        }
        Ok(self.names.as_deref().unwrap_or_default())
    }

    fn only_one(
        &mut self,
        mut processes: Vec<ProcessMemory>,
    ) -> Result<ResolvedTarget, ResolveTargetError> {
        if processes.len() == 1 {
            return Ok(self.process(processes.remove(0)));
        }
        Err(ResolveTargetError::Ambiguous {
            typed: self.typed.clone(),
            more: processes.len().saturating_sub(MOST_LISTED),
            matches: processes
                .into_iter()
                .take(MOST_LISTED)
                .map(|process| (process.id, process.command_line.unwrap_or(process.name)))
                .collect(),
        })
    }

    fn process(&mut self, process: ProcessMemory) -> ResolvedTarget {
        let owner = process
            .cgroup
            .as_ref()
            .map(|path| Owner::of(path, self.kernel.has_systemd()));
        let bystanders = match &process.cgroup {
            Some(path) => self.count_bystanders(process.id.pid, &path.clone()),
            None => 0,
        };
        ResolvedTarget {
            typed: self.typed.clone(),
            kind: TargetKind::Process,
            name: process.name,
            process: Some(process.id),
            cgroup: process.cgroup,
            owner,
            processes: vec![process.id],
            bystanders,
        }
    }

    fn group(
        &mut self,
        path: CgroupPath,
        kind: TargetKind,
    ) -> Result<ResolvedTarget, ResolveTargetError> {
        let pids = match read_subtree_processes(self.kernel, &path, &mut self.buffer) {
            Ok(pids) => pids,
            Err(error) if error.is_vanished() => {
                return Err(ResolveTargetError::NoSuchCgroup {
                    typed: self.typed.clone(),
                });
            }
            Err(source) => return Err(self.failed(source)),
        };
        // Those that end meanwhile are no longer the target's.
        let processes = pids
            .into_iter()
            .filter_map(|pid| self.identity(pid).map(|(id, _)| id))
            .collect();
        let name = path.name().unwrap_or(b"/");
        Ok(ResolvedTarget {
            typed: self.typed.clone(),
            kind,
            name: KernelText::from(name),
            process: None,
            owner: Some(Owner::of(&path, self.kernel.has_systemd())),
            cgroup: Some(path),
            processes,
            bystanders: 0,
        })
    }

    /// Processes of the cgroup that are neither the target nor descend from it.
    fn count_bystanders(&mut self, target: u32, path: &CgroupPath) -> u64 {
        let Ok(pids) = read_processes_of(self.kernel, path, &mut self.buffer) else {
            return 0;
        };
        let mut bystanders = 0;
        for pid in pids {
            if !self.descends_from(pid, target) {
                bystanders += u64::from(self.identity(pid).is_some());
            }
        }
        bystanders
    }

    fn descends_from(&mut self, pid: u32, target: u32) -> bool {
        let mut current = pid;
        for _ in 0..MOST_GENERATIONS {
            if current == target {
                return true;
            }
            match self.identity(current) {
                Some((_, parent)) if parent != 0 => current = parent,
                _ => return false,
            }
        }
        false
    }

    fn has_cgroup(&mut self, path: &CgroupPath) -> bool {
        open_process_hierarchy(self.kernel, &mut self.buffer)
            .is_some_and(|root| open_cgroup(&root, path).is_ok())
    }

    /// Whose thread `pid` is; `None` when it is a process. A thread is not
    /// listed in procfs and can be opened all the same.
    fn process_of_thread(&mut self, pid: u32) -> Option<u32> {
        let path = format!("{pid}/status");
        let text = self.kernel.proc.read(path, &mut self.buffer).ok()?;
        parse_status(text)
            .thread_group
            .filter(|&process| process != pid)
    }

    fn look_at(&mut self, pid: u32) -> Result<ProcessMemory, ReadError> {
        let reading = read_process(self.kernel, pid, Detail::Basic, &mut self.scratch)?;
        Ok(reading.memory)
    }

    /// A process and its parent, by the one file that has both. `None` when
    /// it is gone.
    fn identity(&mut self, pid: u32) -> Option<(ProcessId, u32)> {
        if let Some(known) = self.identities.get(&pid) {
            return *known;
        }
        let read = self.read_identity(pid);
        self.identities.insert(pid, read);
        read
    }

    fn read_identity(&mut self, pid: u32) -> Option<(ProcessId, u32)> {
        let text = self
            .kernel
            .proc
            .read(format!("{pid}/stat"), &mut self.buffer)
            .ok()?;
        let stat = parse_stat(text)?;
        let id = ProcessId {
            pid,
            start_time_ticks: stat.start_time_ticks,
        };
        Some((id, stat.parent_pid))
    }

    fn failed(&self, source: ReadError) -> ResolveTargetError {
        ResolveTargetError::Read {
            typed: self.typed.clone(),
            source,
        }
    }
}

fn all_cgroups(root: &KernelDirectory) -> Vec<CgroupPath> {
    let mut paths = Vec::new();
    let bounds = TreeBounds::default();
    visit(
        root,
        &CgroupPath::root(),
        bounds,
        &(),
        &mut |_, path, ()| {
            paths.push(path.clone());
        },
    );
    paths
}
