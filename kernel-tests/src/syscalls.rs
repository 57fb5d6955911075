//! Which system calls could change something outside the program that makes
//! them, and how they are told to a person.
//!
//! Pure: what is behind a descriptor or an address is asked of the caller.
//! Printing to a terminal or a pipe is no change, and neither is reading.

use nix::libc;

/// A system call at its entry.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Its number on x86-64.
    pub number: u64,
    /// Its first four arguments.
    pub arguments: [u64; 4],
}

/// How the arguments of a call are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// The first is a descriptor that is written to.
    Descriptor,
    /// The argument of this index is a path.
    Path(usize),
    /// The second is a path, the third holds `O_` flags (`openat`).
    OpenAt,
    /// A new limit, when the third argument is not null (`prlimit64`).
    Prlimit,
    /// Any use of it is a change.
    Always,
}

const STEPS: &[(libc::c_long, &str, Shape)] = &[
    (libc::SYS_write, "write", Shape::Descriptor),
    (libc::SYS_pwrite64, "pwrite64", Shape::Descriptor),
    (libc::SYS_writev, "writev", Shape::Descriptor),
    (libc::SYS_pwritev, "pwritev", Shape::Descriptor),
    (libc::SYS_pwritev2, "pwritev2", Shape::Descriptor),
    (libc::SYS_ftruncate, "ftruncate", Shape::Descriptor),
    (libc::SYS_fallocate, "fallocate", Shape::Descriptor),
    (libc::SYS_fsync, "fsync", Shape::Descriptor),
    (libc::SYS_fdatasync, "fdatasync", Shape::Descriptor),
    (libc::SYS_fchmod, "fchmod", Shape::Descriptor),
    (libc::SYS_sendto, "sendto", Shape::Descriptor),
    (libc::SYS_sendmsg, "sendmsg", Shape::Descriptor),
    (libc::SYS_sendmmsg, "sendmmsg", Shape::Descriptor),
    (libc::SYS_copy_file_range, "copy_file_range", Shape::Always),
    (libc::SYS_sync, "sync", Shape::Always),
    (libc::SYS_syncfs, "syncfs", Shape::Descriptor),
    (libc::SYS_openat, "openat", Shape::OpenAt),
    (libc::SYS_creat, "creat", Shape::Path(0)),
    (libc::SYS_truncate, "truncate", Shape::Path(0)),
    (libc::SYS_mkdir, "mkdir", Shape::Path(0)),
    (libc::SYS_mkdirat, "mkdirat", Shape::Path(1)),
    (libc::SYS_rmdir, "rmdir", Shape::Path(0)),
    (libc::SYS_unlink, "unlink", Shape::Path(0)),
    (libc::SYS_unlinkat, "unlinkat", Shape::Path(1)),
    (libc::SYS_rename, "rename", Shape::Path(0)),
    (libc::SYS_renameat, "renameat", Shape::Path(1)),
    (libc::SYS_renameat2, "renameat2", Shape::Path(1)),
    (libc::SYS_link, "link", Shape::Path(0)),
    (libc::SYS_linkat, "linkat", Shape::Path(1)),
    (libc::SYS_symlink, "symlink", Shape::Path(1)),
    (libc::SYS_symlinkat, "symlinkat", Shape::Path(2)),
    (libc::SYS_chmod, "chmod", Shape::Path(0)),
    (libc::SYS_fchmodat, "fchmodat", Shape::Path(1)),
    (libc::SYS_prlimit64, "prlimit64", Shape::Prlimit),
    (libc::SYS_setrlimit, "setrlimit", Shape::Always),
    (libc::SYS_process_madvise, "process_madvise", Shape::Always),
    (libc::SYS_kill, "kill", Shape::Always),
    (
        libc::SYS_pidfd_send_signal,
        "pidfd_send_signal",
        Shape::Always,
    ),
];

/// The step that a call is, as `write /run/x/journal (120 bytes)`; `None` when
/// it changes nothing.
///
/// `target_of` tells what is behind a descriptor, as `/proc/PID/fd` does;
/// `text_at` what text is at an address.
pub fn describe_step(
    call: &Call,
    target_of: impl Fn(u64) -> Option<String>,
    text_at: impl Fn(u64) -> Option<String>,
) -> Option<String> {
    let number = libc::c_long::try_from(call.number).ok()?;
    let (_, name, shape) = STEPS.iter().find(|(known, ..)| *known == number)?;
    let [first, second, third, fourth] = call.arguments;
    let path = |index: usize| {
        let text = call
            .arguments
            .get(index)
            .and_then(|address| text_at(*address));
        text.unwrap_or_else(|| "?".to_owned())
    };
    match shape {
        Shape::Descriptor => {
            let target = target_of(first)?;
            is_outside(&target).then(|| format!("{name} {target} ({third} bytes)"))
        }
        Shape::Path(index) => Some(format!("{name} {}", path(*index))),
        Shape::OpenAt => {
            let changes = u64::from((libc::O_CREAT | libc::O_TRUNC).unsigned_abs());
            let path = path(1);
            (third & changes != 0 && is_outside(&path)).then(|| format!("{name} {path}"))
        }
        Shape::Prlimit => {
            (third != 0).then(|| format!("{name} of process {first}, resource {second}"))
        }
        Shape::Always => Some(format!("{name} {first} {second} {third} {fourth}")),
    }
}

/// Is what is behind a descriptor outside the program, and not just its way to
/// talk? A socket is outside: systemd listens at the other end.
fn is_outside(target: &str) -> bool {
    const TALK: &[&str] = &[
        "/dev/null",
        "/dev/tty",
        "/dev/pts/",
        "/dev/console",
        "/memfd:",
    ];
    let is_talk = TALK.iter().any(|start| target.starts_with(start));
    let is_inside = target.starts_with("pipe:") || target.starts_with("anon_inode:");
    !is_talk && !is_inside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(number: libc::c_long, arguments: [u64; 4], target: &str) -> Option<String> {
        let call = Call {
            number: u64::try_from(number).unwrap(),
            arguments,
        };
        describe_step(
            &call,
            |_| Some(target.to_owned()),
            |_| Some(target.to_owned()),
        )
    }

    #[test]
    fn a_write_is_a_step_only_where_it_leaves_the_program() {
        for (target, is_step) in [
            ("/run/x/journal", true),
            ("/sys/fs/cgroup/x/memory.high", true),
            ("socket:[7]", true),
            ("pipe:[7]", false),
            ("/dev/pts/0", false),
            ("anon_inode:[eventfd]", false),
        ] {
            let found = described(libc::SYS_write, [3, 0, 4, 0], target);
            assert_eq!(found.is_some(), is_step, "{target}");
        }
    }

    #[test]
    fn reading_is_no_step() {
        assert_eq!(described(libc::SYS_read, [3, 0, 4, 0], "/x"), None);
        let read_only = u64::from(libc::O_CLOEXEC.unsigned_abs());
        assert_eq!(
            described(libc::SYS_openat, [0, 0, read_only, 0], "/x"),
            None
        );
        assert_eq!(described(libc::SYS_prlimit64, [0, 7, 0, 1], ""), None);
    }

    #[test]
    fn making_a_file_and_setting_a_limit_are_steps() {
        let create = u64::from((libc::O_CREAT | libc::O_WRONLY).unsigned_abs());
        assert_eq!(
            described(libc::SYS_openat, [0, 0, create, 0], "/x").unwrap(),
            "openat /x"
        );
        assert!(
            described(libc::SYS_prlimit64, [42, 2, 1, 0], "")
                .unwrap()
                .contains("42")
        );
    }
}
