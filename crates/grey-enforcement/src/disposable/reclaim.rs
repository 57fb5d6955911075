//! `memory.reclaim` in slices.
//!
//! Never asks for much at once, never believes the write's own success, and
//! stops when it no longer pays.

use std::io;
use std::time::Instant;

use grey_model::Bytes;

use super::child::Report;
use super::{JobResult, ReclaimStop};
use crate::knob::{HeldCgroup, KnobError};

/// The largest slice.
const LARGEST_SLICE: u64 = 64 << 20;
/// The smallest slice.
const SMALLEST_SLICE: u64 = 1 << 20;
/// A slice is this share of what is in use, in percent.
const SLICE_PERCENT: u64 = 1;
/// A slice that frees less than this share of itself does not pay, in percent.
const PAYS_PERCENT: u64 = 10;
/// So many slices in a row that do not pay end it.
const UNPAID_SLICES: u32 = 3;

/// What a reclaim works on: a cgroup, or in tests a model of one.
pub(super) trait Account {
    /// `memory.current`.
    fn current(&self) -> Result<u64, KnobError>;
    /// Writes `memory.reclaim`.
    fn ask(&self, bytes: u64) -> Result<(), KnobError>;
}

impl Account for HeldCgroup {
    fn current(&self) -> Result<u64, KnobError> {
        self.read_number("memory.current")
    }

    fn ask(&self, bytes: u64) -> Result<(), KnobError> {
        self.write("memory.reclaim", &bytes.to_string())
    }
}

/// Reclaims `amount` in all, or until usage is at or below `until`.
pub(super) fn reclaim(
    account: &dyn Account,
    amount: Bytes,
    until: Option<Bytes>,
    deadline: Instant,
    report: Report<'_>,
) -> Result<JobResult, KnobError> {
    let mut freed = 0u64;
    let mut unpaid = 0;
    let mut before = account.current()?;
    let stopped = loop {
        if until.is_some_and(|until| before <= until.0) {
            break ReclaimStop::Until;
        }
        if freed >= amount.0 {
            break ReclaimStop::Amount;
        }
        if unpaid >= UNPAID_SLICES {
            break ReclaimStop::StoppedPaying;
        }
        if Instant::now() >= deadline {
            break ReclaimStop::Deadline;
        }
        let slice = slice_of(before).min(amount.0 - freed);
        let slice = until.map_or(slice, |until| slice.min(before - until.0));
        match account.ask(slice) {
            Ok(()) => {}
            // EAGAIN: less than asked, which may still be much. EINTR: a
            // signal came between.
            Err(KnobError::Write { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
        let after = account.current()?;
        let gain = before.saturating_sub(after);
        freed = freed.saturating_add(gain);
        // In this order, so that a slice of a few bytes can pay, too.
        if gain.saturating_mul(100) < slice.saturating_mul(PAYS_PERCENT) {
            unpaid += 1;
        } else {
            unpaid = 0;
        }
        before = after;
        if !report(freed, amount.0) {
            break ReclaimStop::Deadline;
        }
    };
    Ok(JobResult::Reclaimed {
        freed: Bytes(freed),
        stopped,
    })
}

fn slice_of(usage: u64) -> u64 {
    Bytes(usage)
        .scale(SLICE_PERCENT, 100)
        .0
        .clamp(SMALLEST_SLICE, LARGEST_SLICE)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::time::Duration;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A cgroup with `usage` bytes, of which all but `stuck` can be reclaimed.
    struct Model {
        usage: Cell<u64>,
        stuck: u64,
        asked: RefCell<Vec<u64>>,
    }

    impl Account for Model {
        fn current(&self) -> Result<u64, KnobError> {
            Ok(self.usage.get())
        }

        fn ask(&self, bytes: u64) -> Result<(), KnobError> {
            self.asked.borrow_mut().push(bytes);
            let free = self.usage.get() - self.stuck;
            self.usage.set(self.usage.get() - bytes.min(free));
            if bytes <= free {
                return Ok(());
            }
            Err(KnobError::Write {
                path: "memory.reclaim".into(),
                value: bytes.to_string(),
                source: io::ErrorKind::WouldBlock.into(),
            })
        }
    }

    fn model(usage: u64, stuck: u64) -> Model {
        Model {
            usage: Cell::new(usage),
            stuck,
            asked: RefCell::default(),
        }
    }

    fn run(model: &Model, amount: u64, until: Option<u64>) -> (u64, ReclaimStop) {
        let deadline = Instant::now() + Duration::from_secs(3600);
        let result = reclaim(
            model,
            Bytes(amount),
            until.map(Bytes),
            deadline,
            &mut |_, _| true,
        );
        match result.unwrap() {
            JobResult::Reclaimed { freed, stopped } => (freed.0, stopped),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_stops_at_the_amount() {
        let model = model(1000 * MIB, 0);
        assert_eq!(
            run(&model, 100 * MIB, None),
            (100 * MIB, ReclaimStop::Amount)
        );
    }

    #[test]
    fn no_slice_is_larger_than_a_percent_or_64_mib() {
        let large = model(20_000 * MIB, 0);
        run(&large, 1000 * MIB, None);
        assert_eq!(large.asked.borrow().iter().max(), Some(&(64 * MIB)));
        let small = model(500 * MIB, 0);
        run(&small, 100 * MIB, None);
        assert_eq!(small.asked.borrow()[0], 5 * MIB);
        let tiny = model(10 * MIB, 0);
        run(&tiny, 5 * MIB, None);
        assert_eq!(tiny.asked.borrow()[0], MIB);
    }

    #[test]
    fn it_stops_when_usage_is_low_enough() {
        let model = model(200 * MIB, 0);
        let (freed, stopped) = run(&model, 1000 * MIB, Some(150 * MIB));
        assert_eq!((freed, stopped), (50 * MIB, ReclaimStop::Until));
    }

    #[test]
    fn three_slices_that_do_not_pay_end_it() {
        let model = model(200 * MIB, 180 * MIB);
        let (freed, stopped) = run(&model, 100 * MIB, None);
        assert_eq!((freed, stopped), (20 * MIB, ReclaimStop::StoppedPaying));
        // Three that bring nothing, beyond those that paid and a short one.
        let asked = model.asked.borrow().len();
        assert!(asked < 20, "{asked} slices");
    }

    #[test]
    fn the_deadline_ends_it_between_slices() {
        let model = model(1000 * MIB, 0);
        let deadline = Instant::now();
        let result = reclaim(&model, Bytes(MIB), None, deadline, &mut |_, _| true).unwrap();
        let nothing = JobResult::Reclaimed {
            freed: Bytes::ZERO,
            stopped: ReclaimStop::Deadline,
        };
        assert_eq!(result, nothing);
    }

    #[test]
    fn it_stops_when_nobody_listens() {
        let model = model(1000 * MIB, 0);
        let deadline = Instant::now() + Duration::from_secs(3600);
        reclaim(&model, Bytes(500 * MIB), None, deadline, &mut |_, _| false).unwrap();
        assert_eq!(model.asked.borrow().len(), 1);
    }
}
