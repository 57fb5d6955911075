//! The kernels that the cases run on: Debian's own packages, pinned by version
//! and checksum, downloaded once into the cache and unpacked there.
//!
//! Never installs one, and never takes another version than the pinned one
//! without being told to (`--repin`).

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mirror::{self, IndexEntry, MirrorError};
use crate::pins::{KernelPin, PINS};
use crate::program::{self, ProgramError};
use crate::talk;
use crate::workspace::Workspace;

/// Why a kernel is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelsError {
    /// Nothing is pinned under this name.
    #[error("no kernel is called `{name}`; there are 5.10, 6.1 and 6.12")]
    Unknown { name: String },
    /// It did not come.
    #[error(
        "failed to get {} {} of {}; if the mirror holds it no longer, take the newest with: cargo xtask kernels --repin",
        pin.package, pin.version, pin.suite
    )]
    Download {
        pin: &'static KernelPin,
        #[source]
        source: MirrorError,
    },
    /// A suite's index did not come, or has no such kernel.
    #[error("failed to look for a newer kernel in {suite}")]
    Index {
        suite: &'static str,
        #[source]
        source: MirrorError,
    },
    /// The suite has no kernel of this series.
    #[error("{suite} holds no kernel {series}")]
    NoneFound {
        suite: &'static str,
        series: &'static str,
    },
    /// `dpkg-deb` or `depmod` failed.
    #[error("failed to unpack {package}")]
    Unpack {
        package: &'static str,
        #[source]
        source: ProgramError,
    },
    /// The cache cannot be used.
    #[error("failed to use the cache at `{path}`")]
    Cache {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A kernel that is ready to boot.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// `uname -r`.
    pub(crate) release: String,
    /// The kernel's image.
    pub(crate) image: PathBuf,
    /// The folder that holds `lib/modules/RELEASE`.
    pub(crate) base: PathBuf,
}

/// Gets one kernel ready, from the cache if it is there.
///
/// # Errors
/// When it cannot be had whole and as pinned.
pub(crate) fn ready(workspace: &Workspace, series: &str) -> Result<Kernel, KernelsError> {
    let pin = PINS
        .iter()
        .find(|pin| pin.series == series)
        .ok_or_else(|| KernelsError::Unknown {
            name: series.to_owned(),
        })?;
    let folder = workspace
        .cache("kernels")
        .map_err(|source| cache_error(workspace.root(), source))?;
    let release = pin.package.trim_start_matches("linux-image-").to_owned();
    let base = folder.join(format!("{}_{}", pin.package, pin.version));
    // Renamed to this name only when whole.
    if !base.exists() {
        let package = downloaded(pin, &folder)?;
        unpack(pin, &package, &release, &base)?;
    }
    Ok(Kernel {
        image: base.join("boot").join(format!("vmlinuz-{release}")),
        release,
        base,
    })
}

/// The pinned package in the cache; its checksum is verified in any case.
fn downloaded(pin: &'static KernelPin, folder: &Path) -> Result<PathBuf, KernelsError> {
    let download_error = |source| KernelsError::Download { pin, source };
    let name = pin.file.rsplit('/').next().unwrap_or(pin.file);
    let path = folder.join(name);
    if path.exists() && mirror::verify(&path, pin.sha256).is_ok() {
        return Ok(path);
    }
    talk::step(&format!("downloading {} {}", pin.package, pin.version));
    mirror::download(pin.file, &path).map_err(download_error)?;
    if let Err(error) = mirror::verify(&path, pin.sha256) {
        // So that the next run does not find a file that is good for nothing.
        let _ = fs::remove_file(&path);
        return Err(download_error(error));
    }
    Ok(path)
}

fn unpack(
    pin: &'static KernelPin,
    package: &Path,
    release: &str,
    base: &Path,
) -> Result<(), KernelsError> {
    let unpack_error = |source| KernelsError::Unpack {
        package: pin.package,
        source,
    };
    talk::step(&format!("unpacking {}", pin.package));
    // Somebody else may unpack the same kernel in this very moment.
    let name = base.file_name().unwrap_or_default().to_string_lossy();
    let partial = base.with_file_name(format!("{name}.{}.partial", std::process::id()));
    let cache = |source| cache_error(&partial, source);
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(cache)?;
    }
    fs::create_dir_all(&partial).map_err(cache)?;
    program::output(
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(package)
            .arg(&partial),
    )
    .map_err(unpack_error)?;
    join_module_folders(&partial).map_err(cache)?;
    program::output(
        program::administrators("depmod")
            .arg("-b")
            .arg(&partial)
            .arg(release),
    )
    .map_err(unpack_error)?;
    match fs::rename(&partial, base) {
        Err(_) if base.exists() => fs::remove_dir_all(&partial).map_err(cache),
        renamed => renamed.map_err(cache),
    }
}

/// Old packages have `lib/modules`, newer ones `usr/lib/modules`, and kmod looks
/// at either: both names lead to the same folder.
fn join_module_folders(base: &Path) -> io::Result<()> {
    let (old, new) = (base.join("lib"), base.join("usr/lib"));
    if !old.exists() {
        symlink("usr/lib", old)
    } else if !new.exists() {
        fs::create_dir_all(base.join("usr"))?;
        symlink("../lib", new)
    } else {
        Ok(())
    }
}

/// The newest kernel of each pinned series, as lines for the table of pins.
///
/// # Errors
/// When an index does not come, or holds no such kernel.
pub(crate) fn newest(workspace: &Workspace) -> Result<Vec<KernelPin>, KernelsError> {
    let folder = workspace
        .cache("kernels")
        .map_err(|source| cache_error(workspace.root(), source))?;
    PINS.iter()
        .map(|pin| {
            let entries =
                mirror::index(pin.suite, &folder, |name| is_full_kernel(name, pin.series))
                    .map_err(|source| KernelsError::Index {
                        suite: pin.suite,
                        source,
                    })?;
            let newest = entries
                .into_iter()
                .max_by_key(|entry| version_numbers(&entry.version))
                .ok_or(KernelsError::NoneFound {
                    suite: pin.suite,
                    series: pin.series,
                })?;
            Ok(repinned(pin, newest))
        })
        .collect()
}

/// A pin lives as long as the program.
fn repinned(pin: &KernelPin, entry: IndexEntry) -> KernelPin {
    KernelPin {
        package: entry.package.leak(),
        version: entry.version.leak(),
        file: entry.file.leak(),
        sha256: entry.sha256.leak(),
        ..*pin
    }
}

/// `linux-image-6.1.0-50-amd64` of series 6.1: not `-cloud-`, `-rt-` or
/// `-unsigned`.
fn is_full_kernel(name: &str, series: &str) -> bool {
    name.strip_prefix("linux-image-")
        .and_then(|rest| rest.strip_suffix("-amd64"))
        .and_then(|rest| rest.strip_prefix(series))
        .is_some_and(|rest| {
            rest.starts_with('.') && !rest.contains("cloud") && !rest.contains("-rt")
        })
}

/// `6.12.107-1` as numbers, so that 107 comes after 94.
fn version_numbers(version: &str) -> Vec<u64> {
    version
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

fn cache_error(path: &Path, source: io::Error) -> KernelsError {
    KernelsError::Cache {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_full_signed_flavour_of_the_series_counts() {
        assert!(is_full_kernel("linux-image-6.1.0-50-amd64", "6.1"));
        assert!(is_full_kernel("linux-image-6.12.107+deb13-amd64", "6.12"));
        for other in [
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1.0-50-rt-amd64",
            "linux-image-6.1.0-50-amd64-unsigned",
            "linux-image-6.12.107+deb13-amd64",
            "linux-image-amd64",
        ] {
            assert!(!is_full_kernel(other, "6.1"), "{other}");
        }
    }

    #[test]
    fn a_higher_number_is_newer_than_an_earlier_digit() {
        assert!(version_numbers("6.12.107-1") > version_numbers("6.12.94-1"));
    }

    #[test]
    fn both_names_of_the_module_folder_lead_to_the_modules() {
        for made in ["lib/modules", "usr/lib/modules"] {
            let base = tempfile::tempdir().unwrap();
            fs::create_dir_all(base.path().join(made)).unwrap();
            join_module_folders(base.path()).unwrap();
            assert!(base.path().join("lib/modules").is_dir());
            assert!(base.path().join("usr/lib/modules").is_dir());
        }
    }

    #[test]
    fn every_pin_is_whole() {
        for pin in PINS {
            assert!(is_full_kernel(pin.package, pin.series));
            assert_eq!(pin.sha256.len(), 64);
            assert!(pin.file.contains(pin.package) && pin.file.contains(pin.version));
        }
    }
}
