//! What the machine is: kernel, boot, control groups, systemd, container.
//!
//! Never concludes anything from the kernel's version.

use std::path::Path;

use grey_model::HostFacts;

use crate::ascii;
use crate::cgroup::mount::find_cgroup_mode;
use crate::proc::boot_id::read_boot_id;
use crate::proc::osrelease::read_osrelease;
use crate::roots::Kernel;

/// The inode numbers of the namespaces that the kernel makes at boot
/// (`include/linux/proc_ns.h`, PROC_*_INIT_INO). A container has at least one
/// other.
const FIRST_NAMESPACES: [(&str, &[u8]); 5] = [
    ("self/ns/ipc", b"ipc:[4026531839]"),
    ("self/ns/uts", b"uts:[4026531838]"),
    ("self/ns/user", b"user:[4026531837]"),
    ("self/ns/pid", b"pid:[4026531836]"),
    ("self/ns/cgroup", b"cgroup:[4026531835]"),
];

/// Files that container engines put into a container's root.
const CONTAINER_MARKS: [&str; 3] = [".dockerenv", "run/.containerenv", "run/systemd/container"];

/// Gathers what does not change while the machine runs.
#[must_use]
pub fn read_host(kernel: &Kernel, buffer: &mut Vec<u8>) -> HostFacts {
    HostFacts {
        kernel: read_osrelease(kernel, buffer),
        boot_id: read_boot_id(kernel, buffer).ok().flatten(),
        cgroup_mode: find_cgroup_mode(kernel, buffer),
        page_size_bytes: kernel.page_size.get(),
        systemd: kernel.has_systemd(),
        container: is_container(kernel, buffer),
    }
}

/// Whether procfs shows a container: the first process was told so, or an
/// engine left its mark beside procfs. A mark alone is not believed when all
/// our namespaces are those of boot: machines are made of container images too.
#[must_use]
pub fn is_container(kernel: &Kernel, buffer: &mut Vec<u8>) -> bool {
    if kernel
        .proc
        .read("1/environ", buffer)
        .is_ok_and(names_a_container)
    {
        return true;
    }
    let root = kernel.roots().procfs.parent().unwrap_or(Path::new("/"));
    CONTAINER_MARKS.iter().any(|mark| root.join(mark).exists()) && !is_first_namespace(kernel)
}

/// Whether an environment block has a `container=` that says something.
#[must_use]
pub fn names_a_container(environ: &[u8]) -> bool {
    environ
        .split(|&byte| byte == 0)
        .filter_map(|variable| variable.strip_prefix(b"container="))
        .any(|value| !ascii::words(value).eq(std::iter::empty::<&[u8]>()))
}

fn is_first_namespace(kernel: &Kernel) -> bool {
    FIRST_NAMESPACES.iter().all(|(link, first)| {
        kernel
            .proc
            .link(link)
            .is_some_and(|target| target == *first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_of_the_first_process_names_the_engine() {
        assert!(names_a_container(b"TERM=linux\0container=podman\0"));
        assert!(!names_a_container(b"TERM=linux\0my_container=x\0"));
        assert!(!names_a_container(b"container=\0"));
        assert!(!names_a_container(b""));
    }
}
