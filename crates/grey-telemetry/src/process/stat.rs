//! `/proc/PID/stat`: a process's name, state, parent and start time.
//!
//! Never trusts the name: it may hold spaces, newlines and `) R (`, so the
//! fields are counted from the last `)` of the file.

use grey_model::ProcessState;

use super::program::ProgramLayout;
use crate::ascii::{parse_u64, words};

/// `PF_KTHREAD` of the kernel's `include/linux/sched.h`.
const KERNEL_THREAD_FLAG: u64 = 0x0020_0000;

/// `PF_EXITING` of the same file: it is on its way out, and gives back its memory.
const EXITING_FLAG: u64 = 0x4;

/// What is used of `/proc/PID/stat`.
///
/// # Kernel
/// `/proc/PID/stat`, proc_pid_stat(5); the numbers in the fields' text are
/// that page's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat<'text> {
    /// Field 1: the pid, in the pid namespace of the procfs mount.
    pub pid: u32,
    /// Field 2: the name, at most 15 bytes for programs (up to 63 for kernel
    /// threads), without its parentheses.
    pub name: &'text [u8],
    /// Field 3.
    pub state: ProcessState,
    /// Field 4: the parent's pid, 0 where there is none in our namespace.
    pub parent_pid: u32,
    /// Field 9, bit `PF_KTHREAD`.
    pub kernel_thread: bool,
    /// Field 9, bit `PF_EXITING`: its first thread is ending, and its memory goes.
    pub exiting: bool,
    /// Fields 14 and 15: clock ticks on a CPU, in user and in kernel mode, of
    /// all its threads.
    pub cpu_time_ticks: u64,
    /// Field 20: threads.
    pub threads: u64,
    /// Field 22: clock ticks from boot to its start.
    pub start_time_ticks: u64,
    /// Fields 26 to 28: where the program lies; `None` where we may not see it.
    pub layout: Option<ProgramLayout>,
}

/// Reads a `stat` file; `None` when a field that is used is missing or broken.
#[must_use]
pub fn parse_stat(text: &[u8]) -> Option<Stat<'_>> {
    let open = text.iter().position(|&byte| byte == b'(')?;
    let close = text.iter().rposition(|&byte| byte == b')')?;
    let name = text.get(open + 1..close)?;
    let pid = u32::try_from(parse_u64(text[..open].trim_ascii())?).ok()?;
    // The first word after the name is field 3; each `nth` skips on from there.
    let mut fields = words(text[close + 1..].trim_ascii_end());
    let state = parse_state(fields.next()?);
    let parent_pid = u32::try_from(parse_u64(fields.next()?)?).ok()?;
    let flags = parse_u64(fields.nth(9 - 5)?)?;
    let user_ticks = parse_u64(fields.nth(14 - 10)?)?;
    let kernel_ticks = parse_u64(fields.next()?)?;
    let threads = parse_u64(fields.nth(20 - 16)?)?;
    let start_time_ticks = parse_u64(fields.nth(22 - 21)?)?;
    let layout = parse_layout([fields.nth(26 - 23), fields.next(), fields.next()]);
    Some(Stat {
        pid,
        name,
        state,
        parent_pid,
        kernel_thread: flags & KERNEL_THREAD_FLAG != 0,
        exiting: flags & EXITING_FLAG != 0,
        cpu_time_ticks: user_ticks.saturating_add(kernel_ticks),
        threads,
        start_time_ticks,
        layout,
    })
}

/// The kernel prints no stack for a process that we may not look into, and none
/// for a kernel thread.
fn parse_layout(fields: [Option<&[u8]>; 3]) -> Option<ProgramLayout> {
    let [code_start, code_end, stack_start] = fields.map(|field| parse_u64(field?));
    Some(ProgramLayout {
        code_start: code_start?,
        code_end: code_end?,
        stack_start: stack_start.filter(|&start| start != 0)?,
    })
}

fn parse_state(letter: &[u8]) -> ProcessState {
    match letter {
        b"R" => ProcessState::Running,
        b"S" => ProcessState::Sleeping,
        b"D" => ProcessState::Uninterruptible,
        b"T" => ProcessState::Stopped,
        b"t" => ProcessState::Traced,
        b"Z" => ProcessState::Zombie,
        b"X" | b"x" => ProcessState::Dead,
        b"I" => ProcessState::Idle,
        _ => ProcessState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REST: &str = "S 1 4242 4242 0 -1 4194304 100 0 0 0 1 2 0 0 20 0 7 0 141438 \
        3133440 412 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0";

    #[test]
    fn the_fields_are_those_of_the_manual() {
        let text = format!("4242 (nginx) {REST}\n");
        let stat = parse_stat(text.as_bytes()).unwrap();
        let expected = Stat {
            pid: 4242,
            name: b"nginx",
            state: ProcessState::Sleeping,
            parent_pid: 1,
            kernel_thread: false,
            exiting: false,
            cpu_time_ticks: 3,
            threads: 7,
            start_time_ticks: 141_438,
            layout: None,
        };
        assert_eq!(stat, expected);
    }

    #[test]
    fn a_name_cannot_forge_the_fields() {
        for name in [
            &b") R (x"[..],
            b"a) Z 0 (",
            b"new\nline",
            b"\xff\xfe",
            b"",
            b")",
        ] {
            let text = [b"7 (", name, b") ", REST.as_bytes()].concat();
            let stat = parse_stat(&text).unwrap();
            assert_eq!(stat.name, name);
            assert_eq!(stat.state, ProcessState::Sleeping);
            assert_eq!(stat.start_time_ticks, 141_438);
        }
    }

    #[test]
    fn one_on_its_way_out_is_told_by_its_flag() {
        let text = format!("7 (x) {}", REST.replace("4194304", "4194308"));
        assert!(parse_stat(text.as_bytes()).unwrap().exiting);
    }

    #[test]
    fn a_kernel_thread_is_told_by_its_flag() {
        let text = b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 9 0 0";
        assert!(parse_stat(text).unwrap().kernel_thread);
    }

    #[test]
    fn the_layout_is_there_where_it_may_be_seen() {
        let text = |layout: &str| {
            format!(
                "7 (x) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 9 3133440 412 1844 {layout} 0 0 0\n"
            )
        };
        let layout = |text: String| parse_stat(text.as_bytes()).unwrap().layout;
        let expected = ProgramLayout {
            code_start: 4096,
            code_end: 8192,
            stack_start: 140_737_000,
        };
        assert_eq!(layout(text("4096 8192 140737000")), Some(expected));
        assert_eq!(layout(text("1 1 0")), None);
    }

    #[test]
    fn a_broken_file_is_nothing() {
        for text in [
            &b""[..],
            b"7",
            b"7 (x",
            b"7 x) S 1",
            b")7 (x S",
            b"x (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 9",
            b"7 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0",
            b"7 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 9e",
        ] {
            assert_eq!(parse_stat(text), None, "{}", text.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_name_is_returned_as_it_is(name in proptest::collection::vec(any::<u8>(), 0..64)) {
            let text = [b"7 (", &name[..], b") ", REST.as_bytes()].concat();
            prop_assert_eq!(parse_stat(&text).unwrap().name, &name[..]);
        }

        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_stat(&text);
        }
    }
}
