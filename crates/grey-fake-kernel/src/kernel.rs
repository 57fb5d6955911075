//! The tree itself: made whole, then changed one thing at a time.
//!
//! Never looks at the machine that it runs on, and removes itself when dropped.

use std::fs;
use std::path::{Component, Path, PathBuf};

use grey_model::CgroupPath;
use tempfile::TempDir;

use crate::cgroup::FakeCgroup;
use crate::machine;
use crate::process::FakeProcess;

const WRITABLE: &str = "a temporary directory can be written";

/// A host in a temporary directory: `proc`, `sys`, `cgroup`, and
/// `run/systemd/system`.
#[derive(Debug)]
pub struct FakeKernel {
    root: TempDir,
}

impl FakeKernel {
    /// A host that has everything that is read anywhere: version 2 cgroups
    /// with memory, systemd, PSI, KSM, zram, zswap, swap, a balloon, and
    /// processes of every awkward kind. See [`FakeProcess`] for who they are.
    #[must_use]
    pub fn full() -> Self {
        let kernel = Self::empty();
        machine::write(&kernel);
        FakeCgroup::write_all(&kernel);
        FakeProcess::write_all(&kernel);
        kernel
    }

    /// A host with an empty procfs and nothing else.
    #[must_use]
    pub fn empty() -> Self {
        // Hundreds of tiny files: in memory where that is possible.
        let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let kernel = Self {
            root: root.expect(WRITABLE),
        };
        fs::create_dir(kernel.procfs()).expect(WRITABLE);
        kernel
    }

    /// Where procfs is.
    #[must_use]
    pub fn procfs(&self) -> PathBuf {
        self.path("proc")
    }

    /// Where sysfs is.
    #[must_use]
    pub fn sysfs(&self) -> PathBuf {
        self.path("sys")
    }

    /// Where the control groups are mounted.
    #[must_use]
    pub fn cgroupfs(&self) -> PathBuf {
        self.path("cgroup")
    }

    /// systemd's runtime directory, which exists when systemd is PID 1.
    #[must_use]
    pub fn systemd(&self) -> PathBuf {
        self.path("run/systemd/system")
    }

    /// The path of `name`, which begins with `proc/`, `sys/`, `cgroup/` or `run/`.
    ///
    /// # Panics
    /// When `name` leads out of the tree: a test must not touch the machine.
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        let name = name.as_ref();
        let inside = name
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        assert!(inside, "`{}` leads out of the fake kernel", name.display());
        self.root.path().join(name)
    }

    /// The directory of a cgroup.
    #[must_use]
    pub fn cgroup(&self, path: &CgroupPath) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        self.cgroupfs()
            .join(std::ffi::OsStr::from_bytes(path.relative()))
    }

    /// The host without the file or directory `name`.
    ///
    /// # Panics
    /// When there is no such thing: the test would prove nothing.
    #[must_use]
    pub fn without(self, name: impl AsRef<Path>) -> Self {
        self.remove(name);
        self
    }

    /// The host with `content` in the file `name`, instead of what was there.
    #[must_use]
    pub fn with(self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Self {
        self.write(name, content);
        self
    }

    /// The host with one more process.
    #[must_use]
    pub fn with_process(self, process: &FakeProcess) -> Self {
        process.write(&self);
        self
    }

    /// The host with one more cgroup.
    #[must_use]
    pub fn with_cgroup(self, cgroup: &FakeCgroup) -> Self {
        cgroup.write(&self);
        self
    }

    /// The host with `name` there and unreadable, for root too: it is a
    /// directory where a file should be.
    ///
    /// # Panics
    /// When there is no such file.
    #[must_use]
    pub fn with_unreadable(self, name: impl AsRef<Path>) -> Self {
        self.remove(&name);
        fs::create_dir(self.path(name)).expect(WRITABLE);
        self
    }

    /// The host with its memory controller on version 1, beside a version 2
    /// tree in `cgroup/unified`.
    #[must_use]
    pub fn with_hybrid_cgroups(self) -> Self {
        self.remove("cgroup");
        machine::write_hybrid_cgroups(&self);
        self
    }

    /// The host with version 1 control groups only.
    #[must_use]
    pub fn with_v1_cgroups(self) -> Self {
        self.with_hybrid_cgroups().without("cgroup/unified")
    }

    /// Writes a file, and the directories above it, while a test runs.
    ///
    /// # Panics
    /// When the temporary directory cannot be written.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect(WRITABLE);
        }
        fs::write(path, content).expect(WRITABLE);
    }

    /// Removes a file or directory while a test runs.
    ///
    /// # Panics
    /// When there is no such thing.
    pub fn remove(&self, name: impl AsRef<Path>) {
        let path = self.path(name);
        let is_directory = fs::symlink_metadata(&path).is_ok_and(|facts| facts.is_dir());
        let removed = if is_directory {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        if let Err(error) = removed {
            panic!("the fake kernel has no {}: {error}", path.display());
        }
    }

    /// Points the symbolic link `name` at `target`.
    ///
    /// # Panics
    /// When the temporary directory cannot be written.
    pub fn link(&self, name: impl AsRef<Path>, target: impl AsRef<Path>) {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect(WRITABLE);
        }
        std::os::unix::fs::symlink(target, path).expect(WRITABLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_host_has_all_four_places() {
        let fake = FakeKernel::full();
        for place in [fake.procfs(), fake.sysfs(), fake.cgroupfs(), fake.systemd()] {
            assert!(place.is_dir(), "{}", place.display());
        }
    }

    #[test]
    fn one_thing_is_removed_and_the_rest_stays() {
        let fake = FakeKernel::full().without("proc/zoneinfo");
        assert!(!fake.path("proc/zoneinfo").exists());
        assert!(fake.path("proc/meminfo").exists());
    }

    #[test]
    #[should_panic(expected = "the fake kernel has no")]
    fn removing_what_is_not_there_is_a_mistake_in_the_test() {
        drop(FakeKernel::full().without("proc/zoneinfos"));
    }

    #[test]
    fn an_unreadable_file_is_unreadable_for_root_too() {
        let fake = FakeKernel::full().with_unreadable("proc/meminfo");
        assert!(fs::read(fake.path("proc/meminfo")).is_err());
    }

    #[test]
    #[should_panic(expected = "leads out of the fake kernel")]
    fn a_path_of_the_real_machine_is_a_mistake_in_the_test() {
        let cgroup = crate::FakeCgroup::new("/system.slice", 0, &[]);
        drop(FakeKernel::full().with_cgroup(&cgroup));
    }

    #[test]
    fn it_leaves_nothing_behind() {
        let fake = FakeKernel::full();
        let place = fake.path("");
        drop(fake);
        assert!(!place.exists());
    }
}
