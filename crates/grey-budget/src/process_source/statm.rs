//! The resident set size of this process, read again and again from one
//! descriptor.
//!
//! Never allocates, takes no lock, and never reads another process: after a
//! fork the child opens its own.

use std::fs::File;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use grey_model::{Bytes, PageSize};
use grey_telemetry::process::statm::parse_statm;
use rustix::io::Errno;
use rustix::process::Pid;

use crate::source::SourceError;

const PATH: &str = "/proc/self/statm";

/// Seven numbers of up to 20 digits, with their spaces.
const LONGEST: usize = 160;

/// What [`SourceError::what`] says here.
const WHAT: &str = "the resident set size";

/// `/proc/self/statm`, kept open.
///
/// # Kernel
/// `self` is resolved when the file is opened: a descriptor that a fork
/// inherits still shows the parent. So each reading compares the pid, which
/// costs a tenth of the reading. Only a child that a pid namespace gives the
/// very pid of its parent is not told apart.
#[derive(Debug)]
pub(super) struct Statm {
    opened: ArcSwap<Opened>,
    page_size: PageSize,
}

#[derive(Debug)]
struct Opened {
    file: File,
    pid: Pid,
}

impl Opened {
    fn open() -> Result<Self, SourceError> {
        let pid = rustix::process::getpid();
        match File::open(PATH) {
            Ok(file) => Ok(Self { file, pid }),
            Err(source) => Err(SourceError { what: WHAT, source }),
        }
    }

    fn resident(&self, page_size: PageSize) -> io::Result<Bytes> {
        let mut buffer = [0; LONGEST];
        let count = loop {
            match rustix::io::pread(&self.file, &mut buffer, 0) {
                Ok(count) => break count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        let statm = parse_statm(&buffer[..count]).ok_or(io::ErrorKind::InvalidData)?;
        Ok(statm.resident.bytes(page_size))
    }
}

impl Statm {
    pub(super) fn open(page_size: PageSize) -> Result<Self, SourceError> {
        Ok(Self {
            opened: ArcSwap::from_pointee(Opened::open()?),
            page_size,
        })
    }

    pub(super) fn resident(&self) -> Result<Bytes, SourceError> {
        let opened = self.opened.load();
        let resident = if opened.pid == rustix::process::getpid() {
            opened.resident(self.page_size)
        } else {
            self.reopen()?.resident(self.page_size)
        };
        resident.map_err(|source| SourceError { what: WHAT, source })
    }

    #[cold]
    fn reopen(&self) -> Result<Arc<Opened>, SourceError> {
        let opened = Arc::new(Opened::open()?);
        self.opened.store(Arc::clone(&opened));
        Ok(opened)
    }
}
