//! Who else maps the files that a process maps.
//!
//! Never looks at more than its bound of processes, and counts those that may
//! not be looked into. Pages that a child shares with its parent since a fork
//! have no name and are not found this way.

use grey_model::KernelText;

use super::list::ProcessList;
use super::maps::parse_maps;
use crate::read::ReadError;
use crate::roots::Kernel;

/// At most this many processes are looked into.
pub const MOST_LOOKED_INTO: usize = 1024;

/// A file that may be mapped by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFile {
    /// Its inode number.
    pub inode: u64,
    /// Its name as `maps` prints it.
    pub name: KernelText,
    /// Who else maps it.
    pub sharers: Vec<Sharer>,
}

/// A process that maps a file, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharer {
    /// Its pid.
    pub pid: u32,
    /// The kernel's name for it.
    pub name: KernelText,
}

/// Fills in who else maps each of `files`, the processes `own` left out. Gives
/// how many processes could not be looked into.
///
/// # Errors
/// [`ReadError`] when the processes cannot be listed.
pub fn read_sharers(
    kernel: &Kernel,
    own: &[u32],
    files: &mut [SharedFile],
    buffer: &mut Vec<u8>,
) -> Result<u64, ReadError> {
    let mut list = ProcessList::new();
    let pids = list.refresh(&kernel.proc)?;
    let mut unseen = pids.len().saturating_sub(MOST_LOOKED_INTO) as u64;
    for &pid in pids.iter().take(MOST_LOOKED_INTO) {
        if own.contains(&pid) {
            continue;
        }
        let text = match kernel.proc.read(format!("{pid}/maps"), buffer) {
            Ok(text) => text,
            Err(error) => {
                unseen += u64::from(!error.is_vanished());
                continue;
            }
        };
        let mut maps_it = vec![false; files.len()];
        for mapping in parse_maps(text).filter(|mapping| mapping.inode != 0) {
            for (file, found) in files.iter().zip(&mut maps_it) {
                *found |= mapping.inode == file.inode && mapping.name == file.name.as_bytes();
            }
        }
        if !maps_it.contains(&true) {
            continue;
        }
        let Ok(comm) = kernel.proc.read(format!("{pid}/comm"), buffer) else {
            continue;
        };
        let name = KernelText::from(comm.strip_suffix(b"\n").unwrap_or(comm));
        for (file, _) in files.iter_mut().zip(maps_it).filter(|(_, found)| *found) {
            file.sharers.push(Sharer {
                pid,
                name: name.clone(),
            });
        }
    }
    Ok(unseen)
}
