//! systemd's memory pressure protocol: `$MEMORY_PRESSURE_WATCH` names a file,
//! a FIFO or a socket on which the service manager, the kernel or a container
//! manager tells that memory is short.
//!
//! Never asks for a watch that nobody offered: without the variable there is
//! none.

use std::env;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// The variable that names what to watch.
pub const WATCH_VARIABLE: &str = "MEMORY_PRESSURE_WATCH";

/// The variable with what to write into it first, in Base64.
pub const WRITE_VARIABLE: &str = "MEMORY_PRESSURE_WRITE";

/// What the service manager names when it wants no watching.
const DISABLED: &str = "/dev/null";

/// The most that is written; the kernel takes far less.
const LONGEST_WRITE: usize = 4096;

/// The most reads with which one event is emptied.
const MOST_READS: usize = 64;

/// The protocol cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PressureWatchError {
    /// The path is relative.
    #[error("`{}` of $MEMORY_PRESSURE_WATCH is not an absolute path", path.display())]
    NotAbsolute {
        /// What the variable says.
        path: PathBuf,
    },
    /// What is to be written is not Base64, or too long.
    #[error("$MEMORY_PRESSURE_WRITE is not Base64 of at most 4096 bytes")]
    NotBase64,
    /// It is no file, FIFO or socket.
    #[error("`{}` is neither a file nor a fifo nor a socket", path.display())]
    WrongKind {
        /// Where.
        path: PathBuf,
    },
    /// A pressure file tells of nothing without a trigger.
    #[error("nothing says at which pressure `{}` is to tell: the trigger is missing", path.display())]
    NoTrigger {
        /// Where.
        path: PathBuf,
    },
    /// It could not be opened or connected to.
    #[error("failed to open `{}`", path.display())]
    Open {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What describes the pressure was refused.
    #[error("failed to write the pressure trigger to `{}`", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Waiting failed.
    #[error("failed to wait for pressure on `{}`", path.display())]
    Wait {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Whoever tells of pressure is gone: no event will come any more.
    #[error("`{}` tells of no pressure any more", path.display())]
    Gone {
        /// Where.
        path: PathBuf,
    },
}

impl PressureWatchError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoTrigger { .. } => Some(
                "$MEMORY_PRESSURE_WRITE gives it in Base64, and a program with `pressure_watch`: \
                 \"some 200000 2000000\" is 200 ms of stall within 2 s",
            ),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Some(
                "an unprivileged process may only set triggers whose window is a multiple of 2 s",
            ),
            Self::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Some(
                "the service manager opens the file to the service with MemoryPressureWatch=on",
            ),
            _ => None,
        }
    }
}

/// What waiting gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// Memory is short: give some back.
    Pressure,
    /// The time is over.
    TimedOut,
}

#[derive(Debug)]
enum Channel {
    /// A pressure file of the kernel: an event is POLLPRI without POLLERR, and
    /// nothing is read.
    Pressure(File),
    /// Bytes that are read and thrown away.
    Fifo(File),
    /// The same.
    Socket(UnixStream),
}

/// A watch that is kept open. Its descriptor can be polled for
/// [`PressureWatch::interest`]; then [`PressureWatch::acknowledge`].
#[derive(Debug)]
pub struct PressureWatch {
    channel: Channel,
    path: PathBuf,
}

impl AsFd for PressureWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.channel {
            Channel::Pressure(file) | Channel::Fifo(file) => file.as_fd(),
            Channel::Socket(stream) => stream.as_fd(),
        }
    }
}

impl PressureWatch {
    /// Follows the environment; `None` when it asks for nothing.
    ///
    /// # Errors
    /// [`PressureWatchError`], when it asks for what is not there.
    pub fn from_environment() -> Result<Option<Self>, PressureWatchError> {
        let (watch, write) = (env::var_os(WATCH_VARIABLE), env::var_os(WRITE_VARIABLE));
        Self::from_values(watch.as_deref(), write.as_deref())
    }

    /// The same with given values of the two variables.
    ///
    /// # Errors
    /// [`PressureWatchError`], when they ask for what is not there.
    pub fn from_values(
        watch: Option<&OsStr>,
        write: Option<&OsStr>,
    ) -> Result<Option<Self>, PressureWatchError> {
        let Some(watch) = watch.filter(|watch| !watch.is_empty()) else {
            return Ok(None);
        };
        if watch == DISABLED {
            return Ok(None);
        }
        let write = match write {
            Some(text) => decode_base64(text.as_encoded_bytes())
                .filter(|bytes| bytes.len() <= LONGEST_WRITE)
                .ok_or(PressureWatchError::NotBase64)?,
            None => Vec::new(),
        };
        Self::open(Path::new(watch), &write).map(Some)
    }

    /// Opens what is at `path` and writes `trigger` into it, as it is.
    ///
    /// # Kernel
    /// `/proc/pressure/memory` and `memory.pressure`: "some" or "full", a stall
    /// and a window in microseconds. The kernel overwrites the last byte, so
    /// the text ends in a NUL or a newline. Without a trigger the file would
    /// answer every poll at once, whatever the pressure is, so one is needed.
    ///
    /// # Errors
    /// [`PressureWatchError`], when it cannot.
    pub fn open(path: &Path, trigger: &[u8]) -> Result<Self, PressureWatchError> {
        let path = path.to_owned();
        if !path.is_absolute() {
            return Err(PressureWatchError::NotAbsolute { path });
        }
        let opened = |source| PressureWatchError::Open {
            path: path.clone(),
            source,
        };
        let kind = std::fs::metadata(&path).map_err(opened)?.file_type();
        let channel = if kind.is_socket() {
            let mut stream = UnixStream::connect(&path).map_err(opened)?;
            write_trigger(&mut stream, &path, trigger)?;
            stream.set_nonblocking(true).map_err(opened)?;
            Channel::Socket(stream)
        } else if kind.is_fifo() {
            write_into_fifo(&path, trigger)?;
            // Open for writing too, so that the last writer's end is no event.
            Channel::Fifo(open_file(&path).map_err(opened)?)
        } else if kind.is_file() {
            if trigger.is_empty() {
                return Err(PressureWatchError::NoTrigger { path });
            }
            let mut file = open_file(&path).map_err(opened)?;
            write_trigger(&mut file, &path, trigger)?;
            Channel::Pressure(file)
        } else {
            return Err(PressureWatchError::WrongKind { path });
        };
        Ok(Self { channel, path })
    }

    /// What is watched.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the descriptor is to be polled for: priority data on a pressure
    /// file, readable on the others.
    #[must_use]
    pub const fn interest(&self) -> PollFlags {
        match self.channel {
            Channel::Pressure(_) => PollFlags::PRI,
            Channel::Fifo(_) | Channel::Socket(_) => PollFlags::IN,
        }
    }

    /// Throws away what tells of the event, so that the next one is seen.
    ///
    /// # Errors
    /// [`PressureWatchError::Gone`], when the other side has closed, or the
    /// group of the pressure file was removed.
    pub fn acknowledge(&mut self) -> Result<(), PressureWatchError> {
        let mut buffer = [0; 512];
        for _ in 0..MOST_READS {
            let count = match &mut self.channel {
                Channel::Pressure(_) => return self.check_pressure_file(),
                Channel::Fifo(file) => file.read(&mut buffer),
                Channel::Socket(stream) => stream.read(&mut buffer),
            };
            match count {
                Ok(0) => return Err(self.gone()),
                Ok(count) if count < buffer.len() => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(source) => return Err(self.failed(source)),
            }
        }
        Ok(())
    }

    /// Waits for pressure, at most for `timeout`, and acknowledges it.
    ///
    /// # Errors
    /// [`PressureWatchError::Gone`], when no event can come any more.
    pub fn wait(&mut self, timeout: Duration) -> Result<Waited, PressureWatchError> {
        let start = Instant::now();
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            let mut watched = [PollFd::new(&*self, self.interest())];
            // Longer than the clock can count is as long as it can count.
            let time = Timespec::try_from(left).ok();
            let found = poll(&mut watched, time.as_ref()).map(|_| watched[0].revents());
            match found.map(|seen| told(self.interest(), seen)) {
                Ok(Told::Pressure) => {
                    self.acknowledge()?;
                    return Ok(Waited::Pressure);
                }
                Ok(Told::End) => return Err(self.gone()),
                Ok(Told::Nothing) => return Ok(Waited::TimedOut),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed(errno.into())),
            }
        }
    }

    /// Waits for pressure without end, and acknowledges it; `false` when
    /// something happens at `other` instead.
    ///
    /// # Errors
    /// [`PressureWatchError::Gone`], when no event can come any more.
    pub(crate) fn wait_unless(&mut self, other: &impl AsFd) -> Result<bool, PressureWatchError> {
        loop {
            let mut watched = [
                PollFd::new(&*self, self.interest()),
                PollFd::new(other, PollFlags::IN),
            ];
            let found = poll(&mut watched, None);
            let [ours, others] = watched.map(|watched| watched.revents());
            match found.map(|_| told(self.interest(), ours)) {
                Ok(_) if !others.is_empty() => return Ok(false),
                Ok(Told::Pressure) => {
                    self.acknowledge()?;
                    return Ok(true);
                }
                Ok(Told::End) => return Err(self.gone()),
                Ok(Told::Nothing) | Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed(errno.into())),
            }
        }
    }

    /// Whether the pressure file is still there. For who polls the descriptor
    /// themselves: with POLLPRI alone both look the same.
    fn check_pressure_file(&self) -> Result<(), PressureWatchError> {
        loop {
            let mut watched = [PollFd::new(self, PollFlags::empty())];
            let found = poll(&mut watched, Some(&Timespec::default()));
            match found.map(|_| told(self.interest(), watched[0].revents())) {
                Ok(Told::End) => return Err(self.gone()),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed(errno.into())),
            }
        }
    }

    fn gone(&self) -> PressureWatchError {
        PressureWatchError::Gone {
            path: self.path.clone(),
        }
    }

    fn failed(&self, source: io::Error) -> PressureWatchError {
        PressureWatchError::Wait {
            path: self.path.clone(),
            source,
        }
    }
}

/// The other side, or the cgroup, is gone.
const ENDED: PollFlags = PollFlags::ERR.union(PollFlags::HUP).union(PollFlags::NVAL);

/// What a poll tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Pressure,
    /// No event will come any more.
    End,
    Nothing,
}

/// What `seen` tells who polled for `interest`.
///
/// # Kernel
/// A pressure file whose cgroup was removed, and one without a trigger, answer
/// every poll with POLLERR and POLLPRI together. A socket that was closed may
/// have bytes that were not read yet: they come first.
fn told(interest: PollFlags, seen: PollFlags) -> Told {
    if interest == PollFlags::PRI && seen.intersects(ENDED) {
        Told::End
    } else if seen.intersects(interest) {
        Told::Pressure
    } else if seen.intersects(ENDED) {
        Told::End
    } else {
        Told::Nothing
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let nonblocking = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits();
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nonblocking.cast_signed())
        .open(path)
}

fn write_trigger(
    channel: &mut impl io::Write,
    path: &Path,
    trigger: &[u8],
) -> Result<(), PressureWatchError> {
    if trigger.is_empty() {
        return Ok(());
    }
    // In one piece: the kernel takes each write for a trigger of its own.
    channel
        .write_all(trigger)
        .map_err(|source| PressureWatchError::Write {
            path: path.to_owned(),
            source,
        })
}

/// What is written into a FIFO is for whoever reads it now. Without a reader
/// it would come back to ourselves as an event.
fn write_into_fifo(path: &Path, trigger: &[u8]) -> Result<(), PressureWatchError> {
    if trigger.is_empty() {
        return Ok(());
    }
    let nonblocking = OFlags::NONBLOCK.bits();
    let opened = OpenOptions::new()
        .write(true)
        .custom_flags(nonblocking.cast_signed())
        .open(path);
    match opened {
        Ok(mut file) => write_trigger(&mut file, path, trigger),
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => Ok(()),
        Err(source) => Err(PressureWatchError::Open {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Base64 with its padding, as systemd writes it. White space is passed over.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    if !digits.len().is_multiple_of(4) {
        return None;
    }
    let padding = digits
        .iter()
        .rev()
        .take_while(|&&byte| byte == b'=')
        .count();
    if padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for &digit in &digits[..digits.len() - padding] {
        bits = (bits << 6) | u32::from(base64_value(digit)?);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held).to_le_bytes()[0]);
            bits &= (1 << held) - 1;
        }
    }
    (bits == 0).then_some(bytes)
}

fn base64_value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
#[path = "pressure_watch_tests.rs"]
mod tests;
