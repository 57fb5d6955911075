//! For tests: a directory that looks like /proc, and real processes and
//! threads to read it with.
//!
//! Never used by the product.

use std::fmt::Write;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::statm::parse_statm;
use crate::read::KernelDirectory;
use crate::roots::{Kernel, Roots};

/// An imitation of /proc.
pub(super) struct Imitation {
    root: TempDir,
}

impl Imitation {
    pub(super) fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn proc(&self) -> KernelDirectory {
        KernelDirectory::open(self.path()).unwrap()
    }

    pub(super) fn kernel(&self) -> Kernel {
        Kernel::open(&Roots {
            procfs: self.path().to_owned(),
            ..Roots::default()
        })
        .unwrap()
    }

    pub(super) fn write(&self, pid: u32, file: &str, content: impl AsRef<[u8]>) {
        let directory = self.path().join(pid.to_string());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(file), content).unwrap();
    }

    pub(super) fn statm(&self, pid: u32, resident: u64, shared: u64) {
        self.write(pid, "statm", format!("9999 {resident} {shared} 1 0 1 0\n"));
    }

    /// A rollup with these amounts in KiB: PSS, its anonymous part, USS. Its RSS is
    /// that of `statm`, where there is one, in pages of 4 KiB.
    pub(super) fn rollup(&self, pid: u32, pss: u64, anon: u64, uss: u64) {
        let mut text = String::from("1000-2000 ---p 00000000 00:00 0 [rollup]\n");
        let statm = fs::read(self.path().join(pid.to_string()).join("statm"));
        if let Some(statm) = statm.ok().and_then(|statm| parse_statm(&statm)) {
            let kib = statm.resident.0.saturating_mul(4);
            writeln!(text, "Rss: {kib} kB").unwrap();
        }
        let rows = [
            ("Pss", pss),
            ("Pss_Anon", anon),
            ("Private_Clean", 0),
            ("Private_Dirty", uss),
            ("Swap", 3),
            ("SwapPss", 2),
        ];
        for (key, kib) in rows {
            writeln!(text, "{key}: {kib} kB").unwrap();
        }
        self.write(pid, "smaps_rollup", text);
    }

    /// `stat` with a name, a state, flags and a start time.
    pub(super) fn stat(&self, pid: u32, name: &[u8], state: char, flags: u32, start: u64) {
        let rest = format!(") {state} 1 1 1 0 -1 {flags} 0 0 0 0 1 2 0 0 20 0 3 0 {start} 0 0\n");
        let text = [format!("{pid} (").as_bytes(), name, rest.as_bytes()].concat();
        self.write(pid, "stat", text);
    }

    pub(super) fn remove(&self, pid: u32) {
        fs::remove_dir_all(self.path().join(pid.to_string())).unwrap();
    }
}

/// A real process that waits; it is killed and collected when dropped.
pub(super) struct Waiting(Child);

impl Waiting {
    pub(super) fn start() -> Self {
        // `cat` waits for its input without end, and dies with the test.
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Until it has loaded its program and its libraries, its memory is not
        // its own and grows: what comes back says that it is at its work.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        let mut echo = [0];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut echo)
            .unwrap();
        Self(child)
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Kills it without collecting it: it becomes a zombie.
    pub(super) fn make_zombie(&mut self) {
        self.0.kill().unwrap();
        let stat = format!("/proc/{}/stat", self.pid());
        wait_until(|| fs::read_to_string(&stat).unwrap().contains(") Z "));
    }

    pub(super) fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for a state that comes by itself, and not for ever.
fn wait_until(there: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !there() {
        assert!(Instant::now() < deadline, "the state never came");
        std::thread::yield_now();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs `work` on a thread that has no privileges: the kernel keeps
/// credentials for each thread.
pub(super) fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                let nobody = rustix::process::Uid::from_raw(65_534);
                rustix::thread::set_thread_uid(nobody).unwrap();
            }
            work()
        });
        thread.join().unwrap()
    })
}
