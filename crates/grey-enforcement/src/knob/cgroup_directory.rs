//! A cgroup that we make, and remove again.
//!
//! Never removes a cgroup that somebody else made under the same path, and
//! never kills what is in it: processes move to the refuge first.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use grey_model::{CgroupId, CgroupPath, Knob, KnobValue};
use grey_telemetry::{Kernel, ReadError, ascii};

use super::held::HeldCgroup;
use super::process_cgroup::nearest_existing;
use super::{KnobError, Restored};
use crate::kernel_file::{make_cgroup, remove_cgroup};

/// How often the list of processes is read and moved before we give up: they
/// may fork while they are moved.
const ROUNDS: u32 = 32;
/// How often removing is tried: a cgroup stays busy until the kernel has let
/// go of the processes that ended in it.
const REMOVALS: u32 = 50;
/// The pause between two removals.
const REMOVAL_PAUSE: Duration = Duration::from_millis(20);

pub(super) fn read(kernel: &Kernel, cgroup: &CgroupPath) -> Result<Option<KnobValue>, KnobError> {
    match HeldCgroup::open(kernel, cgroup, None) {
        Ok(_) => Ok(Some(KnobValue::present())),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn set(kernel: &Kernel, cgroup: &CgroupPath) -> Result<(), KnobError> {
    let (parent, name) = parent_of(kernel, cgroup)?;
    make_cgroup(parent.directory().as_fd(), Path::new(&name)).map_err(|source| KnobError::Write {
        path: parent.directory().path().join(&name),
        value: "mkdir".to_owned(),
        source,
    })
}

/// # Undo
/// Processes that are still in it move to `refuge`, or to the nearest cgroup
/// above it that exists; then it is removed. When the record that we made it
/// is missing (`id` is `None`), nothing is moved: it is removed only if empty.
pub(super) fn restore(
    kernel: &Kernel,
    cgroup: &CgroupPath,
    refuge: &CgroupPath,
    id: Option<CgroupId>,
) -> Result<Restored, KnobError> {
    let held = HeldCgroup::open(kernel, cgroup, id)?;
    let mut restored = Restored::exactly();
    if id.is_some() {
        restored = evacuate(kernel, &held, cgroup, refuge)?;
    }
    let (parent, name) = parent_of(kernel, cgroup)?;
    let mut tries = 0;
    loop {
        tries += 1;
        match remove_cgroup(parent.directory().as_fd(), Path::new(&name)) {
            Ok(()) => return Ok(restored),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                return Err(KnobError::CgroupGone {
                    cgroup: cgroup.clone(),
                });
            }
            Err(source) if is_occupied(&source) && tries < REMOVALS => {
                if has_children(&held) {
                    return Err(in_use(cgroup, refuge, "it has cgroups below it"));
                }
                std::thread::sleep(REMOVAL_PAUSE);
            }
            Err(source) if is_occupied(&source) => {
                return Err(in_use(cgroup, refuge, "it is not empty"));
            }
            Err(source) => {
                return Err(KnobError::Write {
                    path: parent.directory().path().join(&name),
                    value: "rmdir".to_owned(),
                    source,
                });
            }
        }
    }
}

fn evacuate(
    kernel: &Kernel,
    held: &HeldCgroup,
    cgroup: &CgroupPath,
    refuge: &CgroupPath,
) -> Result<Restored, KnobError> {
    let mut moved = 0u64;
    let mut last_error = None;
    let mut shelter = None;
    for _ in 0..ROUNDS {
        let list = match held.read("cgroup.procs") {
            Ok(list) => list,
            // A test tree or a cgroup of another type has no such list.
            Err(KnobError::Missing { .. }) => break,
            Err(error) => return Err(error),
        };
        let mut seen = false;
        let mut foreign = false;
        for pid in ascii::lines(&list).filter_map(ascii::parse_u64) {
            // A process of a pid namespace that is not below ours has no pid
            // here; the kernel would take 0 for the writer itself.
            if pid == 0 {
                foreign = true;
                continue;
            }
            seen = true;
            if shelter.is_none() {
                shelter = Some(nearest_existing(kernel, refuge)?);
            }
            if let Some((found, _)) = &shelter {
                match found.write("cgroup.procs", &pid.to_string()) {
                    Ok(()) => moved += 1,
                    Err(error) => last_error = Some(error),
                }
            }
        }
        if !seen && foreign {
            return Err(in_use(
                cgroup,
                refuge,
                "processes of another pid namespace are in it, which cannot be moved from here",
            ));
        }
        if !seen {
            let note = (moved > 0).then(|| {
                let to = shelter
                    .as_ref()
                    .map_or_else(|| refuge.to_string(), |(_, path)| path.to_string());
                format!("{moved} processes were moved to {to}")
            });
            return Ok(Restored { note });
        }
    }
    match last_error {
        Some(error) => Err(error),
        None if moved == 0 => Ok(Restored::exactly()),
        None => Err(in_use(cgroup, refuge, "processes keep appearing in it")),
    }
}

fn in_use(cgroup: &CgroupPath, refuge: &CgroupPath, by: &str) -> KnobError {
    KnobError::InUse {
        knob: Knob::CgroupDirectory {
            cgroup: cgroup.clone(),
            refuge: refuge.clone(),
        },
        by: by.to_owned(),
    }
}

fn is_occupied(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty
    )
}

fn has_children(held: &HeldCgroup) -> bool {
    children(held).is_ok_and(|names| !names.is_empty())
}

/// The names of the cgroups below. More than 4096 are an error, as nobody has
/// looked at the rest.
pub(super) fn children(held: &HeldCgroup) -> Result<Vec<std::ffi::OsString>, KnobError> {
    const MOST: usize = 4096;
    let failed = |source: io::Error| KnobError::Read {
        what: "the names of the cgroups below".to_owned(),
        source: ReadError::Read {
            path: held.directory().path().to_owned(),
            source,
        },
    };
    let mut names = Vec::new();
    let directory =
        rustix::fs::Dir::read_from(held.directory()).map_err(|errno| failed(errno.into()))?;
    for entry in directory {
        let entry = entry.map_err(|errno| failed(errno.into()))?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." || !entry.file_type().is_dir() {
            continue;
        }
        if names.len() >= MOST {
            return Err(failed(io::Error::other("there are more than 4096")));
        }
        names.push(OsStr::from_bytes(name).to_owned());
    }
    Ok(names)
}

fn parent_of(
    kernel: &Kernel,
    cgroup: &CgroupPath,
) -> Result<(HeldCgroup, std::ffi::OsString), KnobError> {
    let (Some(parent), Some(name)) = (cgroup.parent(), cgroup.name()) else {
        return Err(KnobError::Missing {
            what: "cgroup above the root".to_owned(),
        });
    };
    let held = HeldCgroup::open(kernel, &parent, None)?;
    Ok((held, OsStr::from_bytes(name).to_owned()))
}
