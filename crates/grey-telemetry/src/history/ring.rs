//! The last minute of the machine, ten times a second, in memory that cannot be
//! paged out: what a recorder has at hand when it is too late to begin.
//!
//! Reads three files through kept descriptors, and `vmstat`, the dearest, only
//! now and then while nobody stalls. Never grows, and never writes.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use grey_model::{BootId, Sample, SystemField, SystemValues};
use rustix::fs::Mode;
use rustix::io::Errno;

use super::sampler::{of_meminfo, of_vmstat, wall_ms};
use crate::ascii;
use crate::proc::meminfo::parse_meminfo;
use crate::proc::pressure::parse_pressure;
use crate::proc::vmstat::parse_vmstat;
use crate::read::{KernelDirectory, READING, ReadError};
use crate::roots::Kernel;
use crate::syscall::lock_in_memory;

/// How often the ring takes a reading.
pub const RING_INTERVAL: Duration = Duration::from_millis(100);

/// How many it holds: a minute.
pub const RING_LENGTH: usize = 600;

/// While nobody stalls, `vmstat` is read each so many times: it is as long as
/// the other files together.
const VMSTAT_EVERY: u32 = 5;

/// The largest file that is read; `vmstat` has 5 to 8 KiB.
const BUFFER: usize = 32 << 10;

const FIELDS: usize = SystemField::ALL.len();

/// One reading: 0 for what is unknown, else one more than the value.
#[derive(Debug, Clone, Copy)]
struct Slot {
    at_unix_ms: u64,
    since_boot_ms: u64,
    codes: [u64; FIELDS],
}

const EMPTY: Slot = Slot {
    at_unix_ms: 0,
    since_boot_ms: 0,
    codes: [0; FIELDS],
};

/// Readings in a row, of which the newest replaces the oldest.
#[derive(Debug)]
pub struct Ring {
    slots: Box<[Slot]>,
    next: usize,
    filled: usize,
    is_locked: bool,
}

impl Ring {
    /// A ring for so many readings, locked into memory where that is allowed.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let slots = vec![EMPTY; length.max(1)].into_boxed_slice();
        let is_locked = lock_in_memory(&slots).is_ok();
        Self {
            slots,
            next: 0,
            filled: 0,
            is_locked,
        }
    }

    /// Whether it cannot be paged out. Without `CAP_IPC_LOCK` RLIMIT_MEMLOCK
    /// must allow about 200 KiB.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        self.is_locked
    }

    /// Adds a reading that was taken now.
    pub fn push(&mut self, values: &SystemValues) {
        let (at_unix_ms, since_boot_ms) = wall_ms();
        self.push_at(at_unix_ms, since_boot_ms, values);
    }

    pub(super) fn push_at(&mut self, at_unix_ms: u64, since_boot_ms: u64, values: &SystemValues) {
        let slot = &mut self.slots[self.next];
        (slot.at_unix_ms, slot.since_boot_ms) = (at_unix_ms, since_boot_ms);
        for (code, value) in slot.codes.iter_mut().zip(values.iter()) {
            *code = value.map_or(0, |value| value.saturating_add(1));
        }
        self.next = (self.next + 1) % self.slots.len();
        self.filled = (self.filled + 1).min(self.slots.len());
    }

    /// The readings, oldest first.
    fn slots(&self) -> impl DoubleEndedIterator<Item = &Slot> {
        let (newer, older) = self.slots.split_at(self.next);
        let older = &older[older.len() - (self.filled - self.filled.min(newer.len()))..];
        let newer = &newer[newer.len() - self.filled.min(newer.len())..];
        older.iter().chain(newer)
    }

    /// The newest value of `field`, and when it was read, in milliseconds since
    /// boot.
    #[must_use]
    pub fn newest(&self, field: SystemField) -> Option<(u64, u64)> {
        let slot = self.slots().next_back()?;
        let value = slot.codes[field as usize].checked_sub(1)?;
        Some((value, slot.since_boot_ms))
    }

    /// The oldest known value of `field` in the readings from `since_boot_ms`
    /// on, and when it was read.
    #[must_use]
    pub fn oldest_since(&self, field: SystemField, since_boot_ms: u64) -> Option<(u64, u64)> {
        self.slots()
            .rev()
            .take_while(|slot| slot.since_boot_ms >= since_boot_ms)
            .filter_map(|slot| {
                let value = slot.codes[field as usize].checked_sub(1)?;
                Some((value, slot.since_boot_ms))
            })
            .last()
    }

    /// The readings as samples of `boot`, oldest first, without processes and
    /// cgroups.
    #[must_use]
    pub fn samples(&self, boot: &BootId) -> Vec<Sample> {
        let sample = |slot: &Slot| Sample {
            at_unix_ms: slot.at_unix_ms,
            since_boot_ms: slot.since_boot_ms,
            boot: boot.clone(),
            system: SystemValues::from_values(
                slot.codes.iter().map(|code| code.checked_sub(1)).collect(),
            ),
            processes: Vec::new(),
            cgroups: None,
            groups: None,
        };
        self.slots().map(sample).collect()
    }
}

/// Reads what the ring holds, again and again.
#[derive(Debug)]
pub struct RingReader {
    meminfo: OwnedFd,
    vmstat: Option<OwnedFd>,
    pressure: Option<OwnedFd>,
    buffer: Box<[u8]>,
    stalled_us: Option<u64>,
    since_vmstat: u32,
}

impl RingReader {
    /// Opens the files of `kernel`, which stay open.
    ///
    /// # Errors
    /// [`ReadError`] when meminfo cannot be opened. Without the others their
    /// numbers are unknown.
    pub fn new(kernel: &Kernel) -> Result<Self, ReadError> {
        Ok(Self {
            meminfo: open(&kernel.proc, "meminfo")?,
            vmstat: open(&kernel.proc, "vmstat").ok(),
            pressure: open(&kernel.proc, "pressure/memory").ok(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            stalled_us: None,
            since_vmstat: 0,
        })
    }

    /// The numbers now. What cannot be read, or is not read this time, is
    /// absent.
    pub fn read(&mut self) -> SystemValues {
        let pressure = self
            .pressure
            .as_ref()
            .and_then(|file| read_whole(file, &mut self.buffer).ok())
            .and_then(parse_pressure);
        let stalled = pressure.map(|pressure| pressure.some.total_us);
        let full = pressure.and_then(|pressure| pressure.full.map(|full| full.total_us));
        let has_moved = stalled != self.stalled_us;
        self.stalled_us = stalled;
        let text = read_whole(&self.meminfo, &mut self.buffer).unwrap_or_default();
        let mut values = of_meminfo(&parse_meminfo(text));
        self.since_vmstat += 1;
        if (has_moved || self.since_vmstat >= VMSTAT_EVERY)
            && let Some(file) = &self.vmstat
            && let Ok(text) = read_whole(file, &mut self.buffer)
        {
            self.since_vmstat = 0;
            values = of_vmstat(&parse_vmstat(text), values);
        }
        values
            .with(SystemField::PressureSome, stalled)
            .with(SystemField::PressureFull, full)
    }
}

fn open(proc: &KernelDirectory, name: &str) -> Result<OwnedFd, ReadError> {
    rustix::fs::openat(proc, name, READING, Mode::empty()).map_err(|errno| ReadError::Open {
        path: proc.path().join(Path::new(name)),
        source: errno.into(),
    })
}

/// A whole file from its beginning; what does not fit is cut at a line.
fn read_whole<'buffer>(file: &OwnedFd, buffer: &'buffer mut [u8]) -> Result<&'buffer [u8], Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(file.as_fd(), &mut buffer[filled..], filled as u64) {
            Ok(0) => return Ok(&buffer[..filled]),
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(ascii::whole_lines(&buffer[..filled]))
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
