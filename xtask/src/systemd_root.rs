//! The root file system of the guest with systemd: Debian, made by mmdebstrap,
//! as an ext4 image in the cache under a key of its recipe.
//!
//! Nothing of ours is in it: the programs and the unit that starts them come
//! with each run, through the initramfs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::mirror::{self, MirrorError};
use crate::program::{self, ProgramError};
use crate::talk;
use crate::workspace::Workspace;

/// Words for the kernel's command line.
pub(crate) const KERNEL_ARGUMENTS: &str =
    "systemd.show_status=no systemd.log_level=notice systemd.journald.forward_to_console=no";

/// systemd 257. Newer than what most machines build for, so that their programs
/// find a C library that is not older than their own.
const SUITE: &str = "trixie";
const PACKAGES: &str =
    "systemd,systemd-sysv,systemd-oomd,dbus,udev,kmod,procps,util-linux,earlyoom,nohang";
const SIZE: &str = "640M";

/// Run on the unpacked root, whose path is `$1`.
const CUSTOMIZE: &str = r#"
set -eu
systemd_folder="$1/etc/systemd/system"
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-tmpfiles-clean.timer \
    getty@tty1.service serial-getty@ttyS0.service systemd-networkd.service \
    systemd-timesyncd.service systemd-resolved.service systemd-firstboot.service \
    systemd-pcrphase.service systemd-update-utmp.service systemd-hwdb-update.service \
    earlyoom.service nohang.service nohang-desktop.service; do
    ln -sf /dev/null "$systemd_folder/$unit"
done
printf '/dev/vdc / ext4 noatime 0 1\n' > "$1/etc/fstab"
printf 'grey-guest\n' > "$1/etc/hostname"
printf '127.0.0.1 localhost grey-guest\n' > "$1/etc/hosts"
printf '0123456789abcdef0123456789abcdef\n' > "$1/etc/machine-id"
rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/usr/share/locale
"#;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SystemdRootError {
    /// No mirror is known.
    #[error("failed to make the root of the systemd guest")]
    Mirror(#[source] MirrorError),
    /// mmdebstrap, tar or mke2fs failed.
    #[error("failed to {doing} for the systemd guest")]
    Program {
        doing: &'static str,
        #[source]
        source: ProgramError,
    },
    /// The cache cannot be used.
    #[error("failed to use the cache for the systemd guest")]
    Cache(#[source] io::Error),
}

/// The image, from the cache if its recipe is the same.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn ready(workspace: &Workspace) -> Result<PathBuf, SystemdRootError> {
    let folder = workspace
        .cache("systemd")
        .map_err(SystemdRootError::Cache)?;
    let image = folder.join(format!("root-{}.ext4", key()));
    if !image.exists() {
        talk::step(&format!("making the root of the systemd guest ({SUITE})"));
        make(&folder, &image)?;
    }
    Ok(image)
}

/// Another recipe, another image.
fn key() -> String {
    let recipe = [SUITE, PACKAGES, SIZE, CUSTOMIZE].join("\n");
    let mut digits = mirror::hexadecimal(&Sha256::digest(recipe));
    digits.truncate(16);
    digits
}

fn make(folder: &Path, image: &Path) -> Result<(), SystemdRootError> {
    let mine = format!("{}.partial", std::process::id());
    let archive = folder.join(format!("root-{mine}.tar"));
    let partial = folder.join(format!("root-{mine}.ext4"));
    let address = mirror::address().map_err(SystemdRootError::Mirror)?;
    let mut bootstrap = Command::new("mmdebstrap");
    bootstrap
        .args(["--variant=minbase", "--format=tar"])
        .arg(format!("--include={PACKAGES}"))
        .args([
            "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
        ])
        .arg(format!("--customize-hook={CUSTOMIZE}"))
        .arg(SUITE)
        .arg(&archive)
        .arg(address);
    program::output(&mut bootstrap).map_err(|source| SystemdRootError::Program {
        doing: "run mmdebstrap",
        source,
    })?;
    let made = make_image(&archive, &partial);
    // Whole or not at all; what is half done goes.
    let _ = fs::remove_file(&archive);
    made?;
    fs::rename(&partial, image).map_err(SystemdRootError::Cache)
}

/// Run with the archive as stdin and the image as stdout: in the user namespace
/// of somebody who is not root, the cache may be out of reach.
const MAKE_IMAGE: &str = r#"
set -eu
PATH=$PATH:/usr/sbin:/sbin
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/root"
tar -C "$folder/root" --exclude='./dev/*' -x
mke2fs -q -t ext4 -m 0 -F -d "$folder/root" "$folder/image" "$1" >&2
cat "$folder/image"
"#;

/// The archive as a disk. Somebody who is not root needs the user namespace
/// that mmdebstrap brings, for the files' owners.
fn make_image(archive: &Path, image: &Path) -> Result<(), SystemdRootError> {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("sh")
    } else {
        let mut command = Command::new("mmdebstrap");
        command.args(["--unshare-helper", "sh"]);
        command
    };
    let input = File::open(archive).map_err(SystemdRootError::Cache)?;
    let output = File::create(image).map_err(SystemdRootError::Cache)?;
    command
        .args(["-c", MAKE_IMAGE, "sh", SIZE])
        .stdin(input)
        .stdout(output);
    program::piped(&mut command).map_err(|source| SystemdRootError::Program {
        doing: "make the image",
        source,
    })?;
    // Only space: the zeros between the files need none.
    let _ = program::output(Command::new("fallocate").arg("--dig-holes").arg(image));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_short_and_always_the_same() {
        assert_eq!(key().len(), 16);
        assert_eq!(key(), key());
    }
}
