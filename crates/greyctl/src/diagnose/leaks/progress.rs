//! A progress bar on stderr while something is watched, where somebody sees it.
//!
//! Never writes to stdout, and leaves nothing behind when it is done.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::count::counted;

/// The numbers come first: a narrow terminal cuts the bar.
const GAUGE: &str = "{spinner} {msg} [{bar:16}] Ctrl-C judges now";

/// One line that tells how long it still takes.
pub(crate) struct WindowBar {
    bar: ProgressBar,
    window: Duration,
}

impl WindowBar {
    /// A line on stderr, or nothing at all when nobody sees it.
    pub(crate) fn new(visible: bool, window: Duration) -> Self {
        let bar = if visible {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        } else {
            ProgressBar::hidden()
        };
        let style =
            ProgressStyle::with_template(GAUGE).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_length(milliseconds(window));
        Self { bar, window }
    }

    /// Shows how far it is.
    pub(crate) fn update(&self, elapsed: Duration, processes: usize) {
        let left = self.window.saturating_sub(elapsed).as_secs();
        let left = grey_model::roughly(Duration::from_secs(left));
        let watched = counted(processes as u64, "process", "processes");
        self.bar
            .set_position(milliseconds(elapsed.min(self.window)));
        self.bar
            .set_message(format!("{left} left, watching {watched}"));
        self.bar.tick();
    }

    /// Takes the line away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_template() {
        assert!(ProgressStyle::with_template(GAUGE).is_ok());
    }

    #[test]
    fn it_counts_down_and_never_beyond_its_end() {
        let bar = WindowBar::new(false, Duration::from_secs(60));
        bar.update(Duration::from_secs(20), 1);
        assert_eq!(bar.bar.message(), "40s left, watching 1 process");
        bar.update(Duration::from_secs(70), 2);
        assert_eq!(bar.bar.position(), 60_000);
    }
}
