//! Who else maps the files that a process maps.
//!
//! Never looks at more than its bound of processes, and counts those that may
//! not be looked into. Pages that a child shares with its parent since a fork
//! have no name and are not found this way.

use std::collections::BTreeSet;

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

/// The files of one target, about which is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedFiles {
    /// The target's own processes, which are no sharers.
    pub own: Vec<u32>,
    /// The files.
    pub files: Vec<SharedFile>,
    /// How many processes could not be looked into.
    pub unseen: u64,
}

/// Fills in who else maps the files of each of `targets`, in one pass over the
/// processes, however many targets there are.
///
/// # Errors
/// [`ReadError`] when the processes cannot be listed.
pub fn read_sharers(
    kernel: &Kernel,
    targets: &mut [SharedFiles],
    buffer: &mut Vec<u8>,
) -> Result<(), ReadError> {
    let mut asking: Vec<&mut SharedFiles> = targets
        .iter_mut()
        .filter(|target| !target.files.is_empty())
        .collect();
    if asking.is_empty() {
        return Ok(());
    }
    let inodes: BTreeSet<u64> = asking
        .iter()
        .flat_map(|target| target.files.iter().map(|file| file.inode))
        .collect();
    let mut list = ProcessList::new();
    let pids = list.refresh(&kernel.proc)?;
    let beyond = pids.len().saturating_sub(MOST_LOOKED_INTO) as u64;
    for target in &mut asking {
        target.unseen = beyond;
    }
    for &pid in pids.iter().take(MOST_LOOKED_INTO) {
        let others = |target: &SharedFiles| !target.own.contains(&pid);
        if !asking.iter().any(|target| others(target)) {
            continue;
        }
        let text = match kernel.proc.read(format!("{pid}/maps"), buffer) {
            Ok(text) => text,
            Err(error) => {
                for target in asking.iter_mut().filter(|target| others(target)) {
                    target.unseen += u64::from(!error.is_vanished());
                }
                continue;
            }
        };
        let mapped: BTreeSet<(u64, Vec<u8>)> = parse_maps(text)
            .filter(|mapping| inodes.contains(&mapping.inode))
            .map(|mapping| (mapping.inode, mapping.name.to_vec()))
            .collect();
        let maps_it = |file: &SharedFile| {
            let mut all = mapped.iter();
            all.any(|(inode, name)| *inode == file.inode && *name == file.name.as_bytes())
        };
        let mut shared: Vec<&mut SharedFile> = asking
            .iter_mut()
            .filter(|target| others(target))
            .flat_map(|target| &mut target.files)
            .filter(|file| maps_it(file))
            .collect();
        if shared.is_empty() {
            continue;
        }
        let Ok(comm) = kernel.proc.read(format!("{pid}/comm"), buffer) else {
            continue;
        };
        let name = KernelText::from(comm.strip_suffix(b"\n").unwrap_or(comm));
        for file in &mut shared {
            file.sharers.push(Sharer {
                pid,
                name: name.clone(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::imitation::Imitation;
    use super::*;

    const LIBC: &str = "1000-2000 r-xp 00000000 fe:00 7    /lib/libc.so\n";
    const OTHER: &str = "1000-2000 r-xp 00000000 fe:01 7    /lib/other.so\n";

    fn asking(own: &[u32], files: &[(u64, &str)]) -> SharedFiles {
        let file = |(inode, name): &(u64, &str)| SharedFile {
            inode: *inode,
            name: KernelText::from(*name),
            sharers: Vec::new(),
        };
        SharedFiles {
            own: own.to_vec(),
            files: files.iter().map(file).collect(),
            unseen: 0,
        }
    }

    fn pids(target: &SharedFiles) -> Vec<Vec<u32>> {
        let pids = |file: &SharedFile| file.sharers.iter().map(|sharer| sharer.pid).collect();
        target.files.iter().map(pids).collect()
    }

    #[test]
    fn each_target_has_its_own_answer_from_one_pass() {
        let imitation = Imitation::new();
        // A file is there twice, and another one has its inode's number.
        for (pid, maps) in [
            (1, format!("{LIBC}{LIBC}")),
            (2, LIBC.to_owned()),
            (3, OTHER.to_owned()),
        ] {
            imitation.write(pid, "maps", maps);
            imitation.write(pid, "comm", format!("p{pid}\n"));
        }
        // What cannot be read is no file.
        std::fs::create_dir_all(imitation.path().join("4/maps")).unwrap();
        let both = [(7, "/lib/libc.so"), (7, "/lib/other.so")];
        let mut targets = [
            asking(&[1], &both),
            asking(&[2, 4], &both[..1]),
            asking(&[3], &[]),
        ];
        read_sharers(&imitation.kernel(), &mut targets, &mut Vec::new()).unwrap();
        assert_eq!(pids(&targets[0]), [vec![2], vec![3]]);
        assert_eq!(pids(&targets[1]), [vec![1]]);
        assert_eq!(targets[0].files[0].sharers[0].name, KernelText::from("p2"));
        // Its own process that cannot be read is not missed.
        let unseen: Vec<u64> = targets.iter().map(|target| target.unseen).collect();
        assert_eq!(unseen, [1, 0, 0]);
    }
}
