//! What can still be told of a process or a control group that is gone.
//!
//! Commands alone that find something: no pid that another process may have by
//! now, and no moment that history does not have.

use grey_model::{CgroupPath, KernelText, ProcessId, Target};
use jiff::Timestamp;

use super::commands::Told;
use super::shot::{Key, Shot};
use crate::cli::GlobalOptions;
use crate::history;
use crate::moment::{Moment, typed};
use crate::recommend;

/// What is opened, when it was there the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// What.
    pub(super) key: Key,
    /// Its name; of a process, its kernel's.
    name: KernelText,
    /// When, in milliseconds since 1970.
    at_unix_ms: u64,
}

impl Seen {
    /// `key` in `shot`; `None` where it is not there.
    pub(super) fn of(key: &Key, shot: &Shot) -> Option<Self> {
        let name = match key {
            Key::Process(id) => {
                let read = shot.opened(key).and_then(|detail| detail.process.as_ref());
                let listed = || shot.process(*id).map(|row| &row.memory);
                read.or_else(listed)?.name.clone()
            }
            Key::Cgroup(path) => {
                shot.cgroup(path)?;
                KernelText::from(path.as_bytes())
            }
            // Others may come under its name at any time.
            Key::Group(..) => return None,
        };
        Some(Self {
            key: key.clone(),
            name,
            at_unix_ms: shot.at_unix_ms,
        })
    }

    /// Whether it was looked for in `shot` and is not there.
    pub(super) fn is_gone_from(&self, shot: &Shot) -> bool {
        let was_looked_for = match self.key {
            Key::Process(_) => true,
            Key::Cgroup(_) => shot.cgroups.is_some(),
            Key::Group(..) => false,
        };
        was_looked_for && Self::of(&self.key, shot).is_none()
    }

    /// That it is gone, and what there still is.
    pub(super) fn told(&self, global: &GlobalOptions, shot: &Shot) -> Told {
        let name = &self.name;
        let (sentence, others, killed) = match &self.key {
            Key::Process(id) => (
                format!("process {} ({}) is gone", id.pid, name.to_bracketed_name()),
                self.others(global, shot),
                format!("why --killed --pid {}", id.pid),
            ),
            _ => (format!("{name} is gone"), None, "why --killed".to_owned()),
        };
        let mut commands = Vec::new();
        commands.extend(others.map(|line| ("Others of its name:", line)));
        if let Some(at) = typed(self.at_unix_ms).filter(|_| self.is_in_history(global)) {
            let line = recommend::command(global, &format!("history --at {at}"));
            commands.push(("History of when it was there:", line));
        }
        let line = recommend::command(global, &killed);
        commands.push(("Whether it was killed:", line));
        Told {
            gone: Some(sentence),
            lack: None,
            commands,
        }
    }

    fn others(&self, global: &GlobalOptions, shot: &Shot) -> Option<String> {
        let mut rows = shot.processes.iter();
        rows.find(|row| row.memory.name == self.name)?;
        let name = std::str::from_utf8(self.name.as_bytes()).ok()?;
        recommend::command_about(global, "why", &Target::Name(name.to_owned()))
    }

    /// Whether the sample of that moment has it. What cannot be read has not.
    fn is_in_history(&self, global: &GlobalOptions) -> bool {
        let at = i64::try_from(self.at_unix_ms).ok();
        let Some(at) = at.and_then(|at| Timestamp::from_millisecond(at).ok()) else {
            return false;
        };
        let Ok(mut history) = history::command::open(global) else {
            return false;
        };
        let sample =
            history::command::sample_at(global, &mut history, &Moment::Exact(at), "history --at");
        let Ok(mut sample) = sample else { return false };
        let has_process = |id: ProcessId| sample.processes.iter().any(|one| one.key.id == id);
        match &self.key {
            Key::Process(id) => has_process(*id),
            Key::Cgroup(path) => {
                let read = history::past::take_cgroups(&mut history, &mut sample);
                let has = |path: &CgroupPath| {
                    let mut groups = sample.cgroups.iter().flatten();
                    groups.any(|group| group.path == *path)
                };
                read.is_ok() && has(path)
            }
            Key::Group(..) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use grey_fake_kernel::{FakeKernel, FakeProcess};

    use super::*;
    use crate::cli::Cli;
    use crate::watch::sampler::Wish;
    use crate::watch::testkit::{everything, sampler};

    fn opened(key: &Key) -> Wish {
        Wish {
            detail: Some(key.clone()),
            ..everything()
        }
    }

    /// What is told of `key` when the file or folder `name` is gone.
    fn told(kernel: &FakeKernel, key: &Key, name: &str) -> Told {
        let state = kernel.path("state");
        let state = state.to_str().unwrap();
        let global = Cli::try_parse_from(["greyctl", "journal", "--state-dir", state]);
        let mut sampler = sampler(kernel);
        let before = sampler.look(&opened(key)).unwrap();
        let seen = Seen::of(key, &before).unwrap();
        assert!(!seen.is_gone_from(&before));
        kernel.remove(name);
        let after = sampler.look(&opened(key)).unwrap();
        assert!(seen.is_gone_from(&after));
        let mut told = seen.told(&global.unwrap().global, &after);
        for (_, command) in &mut told.commands {
            *command = command.replace(&format!(" --state-dir {state}"), "");
        }
        told
    }

    fn process(kernel: &FakeKernel, pid: u32) -> Key {
        let shot = sampler(kernel).look(&everything()).unwrap();
        let mut rows = shot.processes.iter();
        let row = rows.find(|row| row.memory.id.pid == pid).unwrap();
        Key::Process(row.memory.id)
    }

    #[test]
    fn a_process_without_a_name_that_is_gone_has_one_pair_of_brackets() {
        let kernel = FakeKernel::full().with_process(&FakeProcess::new(900, 1, "", "/"));
        let told = told(&kernel, &process(&kernel, 900), "proc/900");
        assert_eq!(told.gone.as_deref(), Some("process 900 (no name) is gone"));
    }

    #[test]
    fn a_process_that_is_gone_is_no_target_and_others_of_its_name_are() {
        let kernel = FakeKernel::full();
        let told = told(&kernel, &process(&kernel, 101), "proc/101");
        assert_eq!(told.gone.as_deref(), Some("process 101 (nginx) is gone"));
        // There is no history.
        assert_eq!(
            told.commands,
            [
                ("Others of its name:", "greyctl why name:nginx".to_owned()),
                (
                    "Whether it was killed:",
                    "greyctl why --killed --pid 101".to_owned()
                ),
            ]
        );
    }

    #[test]
    fn of_one_without_namesakes_only_its_end_is_told() {
        let kernel = FakeKernel::full().with_process(&FakeProcess::new(900, 1, "alone", "/"));
        let told = told(&kernel, &process(&kernel, 900), "proc/900");
        let killed = "greyctl why --killed --pid 900".to_owned();
        assert_eq!(told.commands, [("Whether it was killed:", killed)]);
    }

    #[test]
    fn a_pid_that_is_another_process_by_now_is_gone() {
        let kernel = FakeKernel::full();
        let key = process(&kernel, 311);
        let mut sampler = sampler(&kernel);
        let before = sampler.look(&opened(&key)).unwrap();
        let seen = Seen::of(&key, &before).unwrap();
        let next = FakeProcess {
            start_time_ticks: 1 << 40,
            ..FakeProcess::new(311, 1, "next", "/")
        };
        let kernel = kernel.with_process(&next);
        let after = sampler.look(&opened(&key)).unwrap();
        assert!(seen.is_gone_from(&after), "{:?}", kernel.path("proc"));
    }

    #[test]
    fn a_control_group_that_is_gone_is_no_target() {
        let kernel = FakeKernel::full();
        let key = Key::Cgroup(CgroupPath::new(b"/build/web/empty").unwrap());
        let told = told(&kernel, &key, "cgroup/build/web/empty");
        assert_eq!(told.gone.as_deref(), Some("/build/web/empty is gone"));
        let killed = "greyctl why --killed".to_owned();
        assert_eq!(told.commands, [("Whether it was killed:", killed)]);
    }
}
