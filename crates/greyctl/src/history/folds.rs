//! By what the processes of history can be folded.
//!
//! Pure: what history keeps of a process does not depend on the machine.

use grey_model::{GroupBy, Target};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::GlobalOptions;
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::moment::{Moment, typed};
use crate::recommend;

/// Whether samples of history have by what groups are folded: of a process they
/// keep its name and its cgroup, whose path tells the unit and the container.
pub(crate) const fn is_kept(by: GroupBy) -> bool {
    !matches!(by, GroupBy::User | GroupBy::Tree)
}

/// Refuses to fold the processes of `moment` by what history does not keep.
/// `command` is who was asked to.
///
/// # Errors
/// A [`Failure`] that says what is lacking, with a command that works.
pub(crate) fn require(
    global: &GlobalOptions,
    command: &str,
    targets: &[Target],
    moment: &Moment,
    by: GroupBy,
) -> Result<(), Failure> {
    if is_kept(by) {
        return Ok(());
    }
    let lacks = match by {
        GroupBy::Tree => "parents",
        _ => "users",
    };
    let failure = Failure::new(
        Exit::Usage,
        format!("history does not keep the {lacks} of processes: they cannot be folded by them"),
    );
    let at = moment.unix_ms(Timestamp::now(), &TimeZone::system());
    let hint = typed(at).and_then(|at| {
        let words = format!("{command} --by unit --at {at}");
        recommend::command_on_all(global, &words, targets)
    });
    Err(match hint {
        Some(hint) => failure.hint(format!(
            "by unit, container, program or cgroup they can: {hint}"
        )),
        None => failure,
    })
}
