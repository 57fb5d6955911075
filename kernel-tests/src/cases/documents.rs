//! What `greyctl --json` printed, as cases ask about it, and the checks that
//! many of them share.
//!
//! Never decides what is right: a case does.

use serde_json::Value;

use crate::case::Failure;
use crate::guest::{Guest, Run};
use crate::hog::Hog;
use crate::state::KernelState;

/// A mebibyte in bytes.
pub(super) const MIB: u64 = 1 << 20;

/// One run of `memory-enforce --json`.
#[derive(Debug)]
pub(super) struct Enforced {
    run: Run,
    /// The document `grey.enforcement/v1`.
    pub(super) document: Value,
}

/// Runs `memory-enforce --json` with these arguments. Nobody waits for memory
/// that comes back, unless the arguments say `--observe`.
pub(super) fn enforce(guest: &Guest, arguments: &[&str]) -> Result<Enforced, Failure> {
    let mut all = vec!["memory-enforce", "--json"];
    all.extend(arguments);
    if !arguments.contains(&"--observe") {
        all.extend(["--observe", "0s"]);
    }
    let run = guest.greyctl(&all)?;
    let document = run.json()?;
    Ok(Enforced { run, document })
}

impl Enforced {
    /// Itself when it ended with `code`.
    pub(super) fn expect_code(self, code: i32) -> Result<Self, Failure> {
        self.run.clone().expect_code(code)?;
        Ok(self)
    }

    /// The exit code; `None` when a signal ended it.
    pub(super) fn code(&self) -> Option<i32> {
        self.run.code
    }

    /// What was said to people: the error, its details, the hints.
    pub(super) fn stderr(&self) -> &str {
        &self.run.stderr
    }

    /// The effects, in the order of the plan.
    pub(super) fn effects(&self) -> Result<&Vec<Value>, Failure> {
        array(&self.document, "effects")
    }

    /// The effect of the only step.
    pub(super) fn effect(&self) -> Result<&Value, Failure> {
        match self.effects()?.as_slice() {
            [one] => Ok(one),
            others => Err(Failure::new(format!("not one effect: {others:?}"))),
        }
    }

    /// The steps of the plan.
    pub(super) fn plan(&self) -> Result<&Vec<Value>, Failure> {
        array(&self.document, "plan")
    }

    /// All warnings, one a line.
    pub(super) fn warnings(&self) -> Result<String, Failure> {
        let all = array(&self.document, "warnings")?;
        Ok(all
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join("\n"))
    }

    /// The reasons of all refusals, one a line.
    pub(super) fn refusals(&self) -> Result<String, Failure> {
        let all = array(&self.document, "refusals")?;
        Ok(all
            .iter()
            .map(|refusal| text(refusal, "reason"))
            .collect::<Result<Vec<_>, _>>()?
            .join("\n"))
    }
}

/// Runs `memory-diagnose --json` with these arguments, which has to work.
pub(super) fn diagnose(guest: &Guest, arguments: &[&str]) -> Result<Value, Failure> {
    let mut all = vec!["memory-diagnose", "--json"];
    all.extend(arguments);
    guest.greyctl(&all)?.expect_code(0)?.json()
}

/// Runs `rollback --json`, which has to put everything back.
pub(super) fn roll_back(guest: &Guest) -> Result<Value, Failure> {
    guest
        .greyctl(&["rollback", "--json"])?
        .expect_code(0)?
        .json()
}

/// The array at `key`.
pub(super) fn array<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>, Failure> {
    value[key]
        .as_array()
        .ok_or_else(|| Failure::new(format!("`{key}` is no array in {value}")))
}

/// The whole number at `key`; not null, not negative.
pub(super) fn number(value: &Value, key: &str) -> Result<u64, Failure> {
    value[key]
        .as_u64()
        .ok_or_else(|| Failure::new(format!("`{key}` is no whole number in {value}")))
}

/// The string at `key`.
pub(super) fn text(value: &Value, key: &str) -> Result<String, Failure> {
    value[key]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(format!("`{key}` is no string in {value}")))
}

/// Fails unless two numbers differ by no more than `percent` of the larger.
#[track_caller]
pub(super) fn assert_close(what: &str, one: u64, other: u64, percent: u64) {
    let allowed = one.max(other) / 100 * percent;
    assert!(
        one.abs_diff(other) <= allowed,
        "{what}: {one} and {other} differ by more than {percent} %"
    );
}

/// Fails unless the kernel's settings are byte by byte what they were.
#[track_caller]
pub(super) fn assert_unchanged(before: &KernelState) {
    let differences = before.differences(&KernelState::read());
    assert_eq!(differences, Vec::<String>::new());
}

/// The kernel's kills so far, to show later that there were no more.
#[derive(Debug)]
pub(super) struct Kills {
    before: u64,
}

impl Kills {
    /// Counts them now.
    pub(super) fn note(guest: &Guest) -> Result<Self, Failure> {
        Ok(Self {
            before: guest.vmstat("oom_kill")?,
        })
    }

    /// Fails when the kernel has killed anybody since, or a hog is gone.
    #[track_caller]
    pub(super) fn assert_none(&self, guest: &Guest, hogs: &[&Hog]) -> Result<(), Failure> {
        assert_eq!(guest.vmstat("oom_kill")?, self.before, "the kernel killed");
        for hog in hogs {
            assert!(hog.is_alive(), "hog {} is gone", hog.pid());
        }
        Ok(())
    }
}
