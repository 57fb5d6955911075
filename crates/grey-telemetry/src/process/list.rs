//! Which processes there are: the numeric names in /proc.
//!
//! Never reads anything of them, and never allocates once its buffers have
//! grown to the machine's size.

use std::mem::MaybeUninit;

use grey_model::ProcessListing;
use rustix::fs::{AtFlags, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::ascii::parse_u64;
use crate::read::{KernelDirectory, ReadError};
use crate::roots::Kernel;

/// Bytes of directory entries taken from the kernel at a time: about a
/// thousand processes.
const ENTRIES: usize = 32 << 10;

/// Lists pids again and again with the same buffers.
#[derive(Debug)]
pub struct ProcessList {
    entries: Vec<MaybeUninit<u8>>,
    pids: Vec<u32>,
}

impl Default for ProcessList {
    fn default() -> Self {
        Self::new()
    }
}

impl ProcessList {
    /// A list with nothing in it yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: vec![MaybeUninit::uninit(); ENTRIES],
            pids: Vec::new(),
        }
    }

    /// The pids below `proc`, ascending, each once. Processes that start or
    /// end meanwhile may be in it or not.
    ///
    /// # Kernel
    /// `getdents64` of /proc. A descriptor of its own is opened each time,
    /// because the position in a directory belongs to the descriptor, and
    /// `proc` may be in use on another thread.
    ///
    /// # Errors
    /// [`ReadError`] when /proc itself cannot be listed.
    pub fn refresh(&mut self, proc: &KernelDirectory) -> Result<&[u32], ReadError> {
        self.pids.clear();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(proc, c".", flags, Mode::empty()).map_err(|errno| {
            ReadError::Open {
                path: proc.path().to_owned(),
                source: errno.into(),
            }
        })?;
        let mut entries = RawDir::new(directory, &mut self.entries);
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => self.pids.extend(parse_pid(entry.file_name().to_bytes())),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(ReadError::Read {
                        path: proc.path().to_owned(),
                        source: errno.into(),
                    });
                }
            }
        }
        // The kernel lists in order; an imitation on another file system does not.
        if !self.pids.is_sorted() {
            self.pids.sort_unstable();
        }
        self.pids.dedup();
        Ok(&self.pids)
    }

    /// What the last [`ProcessList::refresh`] found.
    #[must_use]
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }
}

/// Whether procfs hides processes from us, so that a list lacks some and
/// nobody can say how many.
///
/// # Kernel
/// Mounted with `hidepid=2` (`invisible`) or `hidepid=4` (`ptraceable`), /proc
/// has no entry for the processes of others. Process 1 is in every pid
/// namespace: where it is missing, it is hidden.
#[must_use]
pub fn hides_processes(kernel: &Kernel) -> bool {
    rustix::fs::statat(&kernel.proc, c"1", AtFlags::empty()).err() == Some(Errno::NOENT)
}

/// Which processes procfs shows us. With `hidepid` we see at least ourselves.
#[must_use]
pub fn process_listing(kernel: &Kernel) -> ProcessListing {
    if !hides_processes(kernel) {
        return ProcessListing::Whole;
    }
    match ProcessList::new().refresh(&kernel.proc) {
        Ok([]) => ProcessListing::Empty,
        Ok(_) | Err(_) => ProcessListing::HidesOthers,
    }
}

/// The pid that a directory's name says; no process is 0, and the kernel
/// writes no leading zeros.
#[must_use]
pub fn parse_pid(name: &[u8]) -> Option<u32> {
    if name.first() == Some(&b'0') {
        return None;
    }
    u32::try_from(parse_u64(name)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    #[test]
    fn only_numbers_are_processes() {
        let root = tempfile::tempdir().unwrap();
        for name in ["10", "9", "1", "self", "007", "0", "4294967296", "1x", "-1"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        let proc = KernelDirectory::open(root.path()).unwrap();
        assert_eq!(ProcessList::new().refresh(&proc).unwrap(), [1, 9, 10]);
    }

    #[test]
    fn more_processes_than_one_buffer_holds_are_all_found() {
        let root = tempfile::tempdir().unwrap();
        let pids: Vec<u32> = (1_000_000..1_003_000).collect();
        for pid in &pids {
            std::fs::write(root.path().join(pid.to_string()), "").unwrap();
        }
        let proc = KernelDirectory::open(root.path()).unwrap();
        assert_eq!(ProcessList::new().refresh(&proc).unwrap(), pids);
    }

    #[test]
    fn a_second_listing_forgets_the_first() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("5")).unwrap();
        let proc = KernelDirectory::open(root.path()).unwrap();
        let mut list = ProcessList::new();
        assert_eq!(list.refresh(&proc).unwrap(), [5]);
        std::fs::remove_dir(root.path().join("5")).unwrap();
        assert!(list.refresh(&proc).unwrap().is_empty());
    }

    #[test]
    fn the_real_list_has_us() {
        let proc = KernelDirectory::open(Path::new("/proc")).unwrap();
        let mut list = ProcessList::new();
        assert!(list.refresh(&proc).unwrap().contains(&std::process::id()));
        assert!(list.pids().is_sorted());
    }

    proptest! {
        #[test]
        fn every_pid_is_read_and_no_name_panics(pid in 1u32.., name in proptest::collection::vec(any::<u8>(), 0..24)) {
            prop_assert_eq!(parse_pid(pid.to_string().as_bytes()), Some(pid));
            let _ = parse_pid(&name);
        }
    }
}
