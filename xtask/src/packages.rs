//! The Debian packages that the tests need, and how they come onto a machine.
//!
//! Never installs anything for somebody who is not root: it prints the one
//! command to run.

use std::process::Command;

use crate::program::{self, ProgramError};
use crate::talk;

/// What the tests need from the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// To build and test on this machine.
    Machine,
    /// To boot guests as well.
    Guests,
}

/// A program that must be there, and the package that holds it.
struct Wanted {
    program: &'static str,
    package: &'static str,
    need: Need,
}

const WANTED: &[Wanted] = &[
    wanted("cc", "build-essential", Need::Machine),
    wanted("git", "git", Need::Machine),
    wanted("tmux", "tmux", Need::Machine),
    wanted("qemu-system-x86_64", "qemu-system-x86", Need::Guests),
    wanted("modprobe", "kmod", Need::Guests),
    wanted("busybox", "busybox-static", Need::Guests),
    wanted("mmdebstrap", "mmdebstrap", Need::Guests),
    wanted("cpio", "cpio", Need::Guests),
    wanted("xz", "xz-utils", Need::Guests),
    wanted("mke2fs", "e2fsprogs", Need::Guests),
    wanted("tar", "tar", Need::Guests),
    wanted("strip", "binutils", Need::Guests),
    wanted("curl", "curl", Need::Guests),
    wanted("dpkg-deb", "dpkg", Need::Guests),
    wanted("gpgv", "gpgv", Need::Guests),
];

/// The keys that Debian's suites are signed with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Why what is missing was not installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackagesError {
    /// Somebody else must do it.
    #[error("packages are missing; run: sudo apt-get install --yes {}", packages.join(" "))]
    NotRoot { packages: Vec<String> },
    /// There is no apt.
    #[error("these packages are missing, and this machine has no apt-get: {}", packages.join(" "))]
    NoApt { packages: Vec<String> },
    /// apt could not.
    #[error("failed to install packages")]
    Install(#[source] ProgramError),
}

/// Installs what is missing.
///
/// # Errors
/// When something is missing and cannot be installed by us.
pub(crate) fn ensure(need: Need) -> Result<(), PackagesError> {
    let is_root = rustix::process::geteuid().is_root();
    let has_keyring = std::path::Path::new(KEYRING).exists();
    let mut packages = missing(need, program::exists, has_keyring);
    // Only somebody who is not root needs a user namespace to make the root of
    // a guest in.
    if need == Need::Guests && !is_root && !program::exists("newuidmap") {
        packages.push("uidmap".to_owned());
    }
    if packages.is_empty() {
        return Ok(());
    }
    if !program::exists("apt-get") {
        return Err(PackagesError::NoApt { packages });
    }
    if !is_root {
        return Err(PackagesError::NotRoot { packages });
    }
    talk::step(&format!("installing {}", packages.join(" ")));
    let install = || {
        let mut command = Command::new("apt-get");
        command
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&packages)
            .env("DEBIAN_FRONTEND", "noninteractive");
        program::output(&mut command)
    };
    // The lists may be missing, or so old that what they name is gone.
    if install().is_err() {
        program::output(Command::new("apt-get").arg("update")).map_err(PackagesError::Install)?;
        install().map_err(PackagesError::Install)?;
    }
    Ok(())
}

fn missing(need: Need, exists: impl Fn(&str) -> bool, has_keyring: bool) -> Vec<String> {
    let mut packages: Vec<String> = WANTED
        .iter()
        .filter(|wanted| wanted.need == Need::Machine || need == Need::Guests)
        .filter(|wanted| !exists(wanted.program))
        .map(|wanted| wanted.package.to_owned())
        .collect();
    if need == Need::Guests && !has_keyring {
        packages.push("debian-archive-keyring".to_owned());
    }
    packages
}

const fn wanted(program: &'static str, package: &'static str, need: Need) -> Wanted {
    Wanted {
        program,
        package,
        need,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_packages_are_named_and_guests_need_more() {
        let all = missing(Need::Guests, |_| false, false);
        assert!(all.contains(&"qemu-system-x86".to_owned()));
        assert!(all.contains(&"debian-archive-keyring".to_owned()));
        let machine = missing(Need::Machine, |_| false, false);
        assert!(!machine.contains(&"qemu-system-x86".to_owned()));
        assert!(missing(Need::Guests, |_| true, true).is_empty());
    }

    #[test]
    fn somebody_who_is_not_root_gets_one_command() {
        let error = PackagesError::NotRoot {
            packages: vec!["kmod".to_owned(), "cpio".to_owned()],
        };
        assert!(
            error
                .to_string()
                .ends_with("sudo apt-get install --yes kmod cpio")
        );
    }
}
