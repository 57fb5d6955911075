//! What a process runs: what it held before an exec says nothing of the
//! program after it, though pid and start time stay.
//!
//! Never takes a new name alone for another program where more is known: any
//! process may rename itself.

use grey_model::KernelText;

/// Where a program lies among the addresses of its process: drawn anew by each
/// exec, and the same until then.
///
/// # Kernel
/// Fields 26, 27 and 28 of `/proc/PID/stat`. Without the right to look into
/// the process the kernel prints 1, 1 and 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramLayout {
    /// Where its code begins.
    pub code_start: u64,
    /// Where its code ends.
    pub code_end: u64,
    /// Where its stack begins.
    pub stack_start: u64,
}

/// The program of a process at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The name: of the file it was started from, until it renames itself.
    pub name: KernelText,
    /// Where it lies; `None` where we may not see that.
    pub layout: Option<ProgramLayout>,
}

impl Program {
    /// Whether the same process runs another program in `later`. By the layout
    /// where both are known; else by the name, so that a process which renames
    /// itself looks like one that did exec, and one that runs the same program
    /// anew is not noticed.
    #[must_use]
    pub fn is_replaced_in(&self, later: &Self) -> bool {
        match (self.layout, later.layout) {
            (Some(before), Some(after)) => before != after,
            _ => self.name != later.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, stack_start: Option<u64>) -> Program {
        Program {
            name: KernelText::from(name),
            layout: stack_start.map(|stack_start| ProgramLayout {
                code_start: 0x1000,
                code_end: 0x2000,
                stack_start,
            }),
        }
    }

    #[test]
    fn a_program_that_renames_itself_is_the_same_one() {
        let before = program("node", Some(7));
        assert!(!before.is_replaced_in(&program("worker 1", Some(7))));
    }

    #[test]
    fn the_same_program_started_anew_is_another_one() {
        let before = program("bash", Some(7));
        assert!(before.is_replaced_in(&program("bash", Some(8))));
    }

    #[test]
    fn where_the_layout_may_not_be_seen_the_name_tells() {
        let before = program("sh", None);
        assert!(before.is_replaced_in(&program("indexer", None)));
        assert!(before.is_replaced_in(&program("indexer", Some(7))));
        assert!(!before.is_replaced_in(&program("sh", None)));
    }
}
