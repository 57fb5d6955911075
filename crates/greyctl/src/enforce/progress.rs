//! A progress bar on stderr while steps are under way, where somebody sees it.
//!
//! Never writes to stdout, and leaves nothing behind when it is done.

use std::time::Duration;

use grey_enforcement::Progress;
use grey_model::{Bytes, Change, OneShot, PlanStep, roughly};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// One line that tells which step is under way and how far it is.
pub(crate) struct ProgressLine {
    bar: ProgressBar,
    counts_bytes: bool,
}

impl ProgressLine {
    /// A line on stderr, or nothing at all when nobody sees it.
    pub(crate) fn new(visible: bool) -> Self {
        let bar = if visible {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        } else {
            ProgressBar::hidden()
        };
        Self {
            bar,
            counts_bytes: false,
        }
    }

    /// Shows how far it is.
    pub(crate) fn update(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::StepStarted { index, count, step } => self.start(*index, *count, step),
            Progress::Step { done, total, .. } => self.advance(*done, *total),
            Progress::StepDone { .. } => self.bar.set_message(""),
            Progress::Observing { elapsed, total } => self.observe(*elapsed, *total),
        }
    }

    /// Takes the line away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn start(&mut self, index: usize, count: usize, step: &PlanStep) {
        let what = match &step.change {
            Change::Set { knob, .. } => knob.to_string(),
            Change::Once { shot } => shot.to_string(),
        };
        self.counts_bytes = matches!(
            &step.change,
            Change::Once {
                shot: OneShot::Reclaim { .. }
            }
        );
        self.bar.set_style(spinner());
        self.bar.set_prefix(format!("{}/{count} {what}", index + 1));
        self.bar.set_message("");
        self.bar.enable_steady_tick(TICK);
    }

    fn advance(&self, done: u64, total: u64) {
        self.bar.set_style(gauge());
        self.bar.set_length(total);
        self.bar.set_position(done.min(total));
        self.bar.set_message(if self.counts_bytes {
            format!("{} of {}", Bytes(done), Bytes(total))
        } else {
            format!("{done} of {total}")
        });
    }

    fn observe(&self, elapsed: Duration, total: Duration) {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let left = total.saturating_sub(elapsed);
        self.bar.set_style(gauge());
        self.bar.set_prefix("watching what comes back");
        self.bar.set_length(milliseconds(total));
        self.bar.set_position(milliseconds(elapsed.min(total)));
        self.bar
            .set_message(roughly(Duration::from_secs(left.as_secs())));
    }
}

const SPINNER: &str = "{spinner} {prefix} {msg}";
/// The numbers come first: a narrow terminal cuts the bar.
const GAUGE: &str = "{spinner} {prefix} {msg} [{bar:24}]";

fn spinner() -> ProgressStyle {
    style(SPINNER)
}

fn gauge() -> ProgressStyle {
    style(GAUGE).progress_chars("=> ")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;
    use grey_model::{CgroupPath, Risk};

    fn reclaim() -> PlanStep {
        PlanStep {
            action: "reclaim".to_owned(),
            change: Change::Once {
                shot: OneShot::Reclaim {
                    cgroup: CgroupPath::root(),
                    amount: Bytes::from_mib(10),
                    until: None,
                },
            },
            predicted: None,
            risk: Risk::Low,
            reason: String::new(),
            undo: String::new(),
            guards: Vec::new(),
            may_block: true,
        }
    }

    #[test]
    fn the_templates_are_templates() {
        for template in [SPINNER, GAUGE] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_reclaim_is_counted_in_bytes_and_never_beyond_its_end() {
        let mut line = ProgressLine::new(false);
        let step = reclaim();
        line.update(&Progress::StepStarted {
            index: 0,
            count: 2,
            step: &step,
        });
        assert_eq!(line.bar.prefix(), "1/2 memory.reclaim of /");
        line.update(&Progress::Step {
            index: 0,
            done: 15 << 20,
            total: 10 << 20,
        });
        assert_eq!(line.bar.message(), "15.0 MiB of 10.0 MiB");
        assert_eq!(line.bar.position(), 10 << 20);
    }

    #[test]
    fn an_observation_counts_down() {
        let mut line = ProgressLine::new(false);
        line.update(&Progress::Observing {
            elapsed: Duration::from_secs(4),
            total: Duration::from_secs(10),
        });
        assert_eq!(line.bar.message(), "6s");
        assert_eq!(line.bar.position(), 4000);
    }
}
