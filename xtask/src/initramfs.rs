//! The first file system of every guest: busybox, a few modules, our programs
//! and the libraries they need, packed as cpio.
//!
//! Never needs root, and never changes what it copies.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kernels::Kernel;
use crate::program::{self, ProgramError};

/// The modules that a guest has, with what they depend on.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "crc32c_generic",
    "ext4",
    "lz4",
    "zram",
];

const INIT: &str = include_str!("../guest/init");
const RUN: &str = include_str!("../guest/run");
const UNIT: &str = include_str!("../guest/grey-cases.service");

/// Why it could not be packed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitramfsError {
    /// A file cannot be copied or written.
    #[error("failed to put `{path}` into the initramfs")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// modprobe, xz, ldd, strip or cpio failed.
    #[error("failed to {doing} for the initramfs")]
    Program {
        doing: &'static str,
        #[source]
        source: ProgramError,
    },
}

/// What a guest shall do.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Say that it is up, and end.
    Probe,
    /// Run these cases; all of them when none is named.
    Cases(Vec<String>),
    /// Run a shell command and print what it prints.
    Command(String),
}

/// What goes into an initramfs.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    /// The kernel whose modules are taken.
    pub(crate) kernel: &'a Kernel,
    /// `5.10`, `6.1`, `6.12`, `systemd`; anything for a probe.
    pub(crate) guest: &'a str,
    /// What it shall do.
    pub(crate) work: &'a Work,
    /// Programs that go to `/bin`.
    pub(crate) programs: &'a [PathBuf],
}

/// Packs one; `folder` is ours alone and is emptied first. Gives the packed
/// file.
///
/// # Errors
/// When something it needs is missing.
pub(crate) fn pack(contents: &Contents<'_>, folder: &Path) -> Result<PathBuf, InitramfsError> {
    let root = folder.join("initramfs");
    if root.exists() {
        fs::remove_dir_all(&root).map_err(|source| file_error(&root, source))?;
    }
    for below in ["bin", "grey", "modules", "etc"] {
        let path = root.join(below);
        fs::create_dir_all(&path).map_err(|source| file_error(&path, source))?;
    }
    write(&root.join("init"), INIT, 0o755)?;
    write(&root.join("grey/run"), RUN, 0o644)?;
    write(&root.join("grey/grey-cases.service"), UNIT, 0o644)?;
    write(&root.join("etc/grey-guest"), "", 0o644)?;
    write(
        &root.join("etc/passwd"),
        "root:x:0:0:root:/:/bin/sh\n",
        0o644,
    )?;
    write(&root.join("etc/group"), "root:x:0:\n", 0o644)?;
    let guest = match contents.work {
        Work::Probe => "probe",
        Work::Cases(_) | Work::Command(_) => contents.guest,
    };
    write(&root.join("grey/guest"), guest, 0o644)?;
    match contents.work {
        Work::Probe => {}
        Work::Cases(names) => {
            let arguments: Vec<String> =
                names.iter().map(|name| format!("--case {name}")).collect();
            write(&root.join("grey/cases"), &arguments.join(" "), 0o644)?;
        }
        Work::Command(command) => write(&root.join("grey/command"), command, 0o644)?,
    }
    let busybox = busybox();
    copy(&busybox, &root.join("bin/busybox"))?;
    // Debian has two; only one of them is static, and both will do.
    if let Ok(listed) = listed_libraries(&busybox) {
        copy_libraries(&listed, &root)?;
    }
    for program in contents.programs {
        add_program(program, &root)?;
    }
    // The guest with systemd takes them along to its own root.
    let names: Vec<_> = contents
        .programs
        .iter()
        .filter_map(|program| program.file_name())
        .map(|name| name.to_string_lossy())
        .collect();
    write(&root.join("grey/programs"), &names.join("\n"), 0o644)?;
    add_modules(contents.kernel, &root.join("modules"))?;
    cpio(&root, folder)
}

/// The stripped program in `/bin`, and its libraries where it looks for them.
fn add_program(program: &Path, root: &Path) -> Result<(), InitramfsError> {
    let Some(name) = program.file_name() else {
        return Ok(());
    };
    let target = root.join("bin").join(name);
    // With its debug information it would fill half the guest's memory.
    program::output(
        Command::new("strip")
            .arg("--strip-debug")
            .arg("-o")
            .arg(&target)
            .arg(program),
    )
    .map_err(|source| InitramfsError::Program {
        doing: "strip a program",
        source,
    })?;
    let listed = listed_libraries(program).map_err(|source| InitramfsError::Program {
        doing: "list the libraries of a program",
        source,
    })?;
    copy_libraries(&listed, root)
}

/// What `ldd` prints; it fails for a static program.
fn listed_libraries(program: &Path) -> Result<String, ProgramError> {
    program::output(Command::new("ldd").arg(program))
}

fn copy_libraries(listed: &str, root: &Path) -> Result<(), InitramfsError> {
    for library in libraries(listed) {
        let target = root.join(library.trim_start_matches('/'));
        if !target.exists() {
            copy(Path::new(library), &target)?;
        }
    }
    Ok(())
}

/// The absolute paths among what `ldd` prints.
fn libraries(listed: &str) -> impl Iterator<Item = &str> {
    listed.lines().filter_map(|line| {
        line.split_ascii_whitespace()
            .find(|word| word.starts_with('/'))
    })
}

/// The modules, unpacked and numbered in the order in which they load.
fn add_modules(kernel: &Kernel, folder: &Path) -> Result<(), InitramfsError> {
    let mut loaded: Vec<PathBuf> = Vec::new();
    for module in MODULES {
        let listed = program::output(
            program::administrators("modprobe")
                .args(["--config", "/dev/null", "--show-depends", "--dirname"])
                .arg(&kernel.base)
                .args(["--set-version", &kernel.release, module]),
        )
        .map_err(|source| InitramfsError::Program {
            doing: "list the modules",
            source,
        })?;
        for path in module_files(&listed) {
            if !loaded.contains(&path) {
                loaded.push(path);
            }
        }
    }
    for (number, path) in loaded.iter().enumerate() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let target = folder.join(format!(
            "{number:02}-{}.ko",
            name.split('.').next().unwrap_or("")
        ));
        if name.ends_with(".xz") {
            let (from, to) = (path.display(), target.display());
            let script = format!("xz -dc '{from}' > '{to}'");
            program::output(Command::new("sh").args(["-c", &script])).map_err(|source| {
                InitramfsError::Program {
                    doing: "unpack a module",
                    source,
                }
            })?;
        } else {
            copy(path, &target)?;
        }
    }
    Ok(())
}

/// The files in the `insmod` lines of `modprobe --show-depends`.
fn module_files(listed: &str) -> Vec<PathBuf> {
    listed
        .lines()
        .filter_map(|line| line.strip_prefix("insmod "))
        .filter_map(|rest| rest.split_ascii_whitespace().next())
        .map(PathBuf::from)
        .collect()
}

fn cpio(root: &Path, folder: &Path) -> Result<PathBuf, InitramfsError> {
    let packed = folder.join("initramfs.cpio");
    // Not compressed: unpacking costs an emulated guest more than copying.
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "find . | cpio --quiet -o -H newc -R 0:0 > \"$1\"",
            "sh",
        ])
        .arg(&packed)
        .current_dir(root);
    program::output(&mut command).map_err(|source| InitramfsError::Program {
        doing: "run cpio",
        source,
    })?;
    Ok(packed)
}

/// Where the static busybox is: `/bin` and `/usr/bin` are not one on every
/// machine.
fn busybox() -> PathBuf {
    ["/usr/bin/busybox", "/bin/busybox"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from("/usr/bin/busybox"))
}

fn copy(from: &Path, to: &Path) -> Result<(), InitramfsError> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|source| file_error(folder, source))?;
    }
    fs::copy(from, to).map_err(|source| file_error(from, source))?;
    Ok(())
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), InitramfsError> {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|source| file_error(path, source))
}

fn file_error(path: &Path, source: io::Error) -> InitramfsError {
    InitramfsError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_is_a_library_too_and_the_vdso_is_none() {
        let listed = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        let found: Vec<&str> = libraries(listed).collect();
        assert_eq!(found, ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }

    #[test]
    fn a_module_that_is_built_in_is_not_loaded() {
        let listed = "builtin zsmalloc\ninsmod /m/lz4.ko.xz \ninsmod /m/zram.ko num_devices=1\n";
        assert_eq!(
            module_files(listed),
            [PathBuf::from("/m/lz4.ko.xz"), PathBuf::from("/m/zram.ko")]
        );
    }
}
