//! What a trace is made with: how long, how often, how large, how noisy.
//!
//! Two lots: the rule was developed on one, and is judged on the other, which
//! has other seeds, windows, sizes, rates and noise.

use std::time::Duration;

use grey_model::{Bytes, Trace, TracePoint};

use crate::random::Random;

const MIB: f64 = 1024.0 * 1024.0;

/// Which numbers a trace is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lot {
    /// Those that the rule was developed on.
    Development,
    /// Those that it has not seen.
    HeldOut,
}

impl Lot {
    /// The seed of the trace number `index`; no two lots share one.
    pub(crate) const fn seed(self, index: u64) -> u64 {
        match self {
            Self::Development => index * 7919 + 1,
            Self::HeldOut => index * 104_729 + 1_000_000_007,
        }
    }
}

/// The numbers of one trace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// Seconds from the first reading to the last.
    pub(crate) window: f64,
    /// Seconds between readings.
    pub(crate) interval: f64,
    /// Bytes at the beginning.
    pub(crate) base: f64,
    /// What a leak adds over the window, as a share of the base.
    pub(crate) growth: f64,
    /// The deviation of the noise, as a share of the base.
    pub(crate) noise: f64,
}

impl Setting {
    /// The setting that `random` draws from a lot.
    pub(crate) fn draw(lot: Lot, random: &mut Random) -> Self {
        let (windows, base, growth, noise) = match lot {
            Lot::Development => (
                [(300.0, 5.0), (600.0, 5.0), (1800.0, 10.0), (120.0, 2.0)],
                (60.0, 600.0),
                (0.2, 0.9),
                (0.002, 0.02),
            ),
            Lot::HeldOut => (
                [(240.0, 4.0), (900.0, 5.0), (3600.0, 10.0), (180.0, 5.0)],
                (40.0, 1500.0),
                (0.15, 1.5),
                (0.001, 0.03),
            ),
        };
        let (window, interval) = random.pick(&windows);
        Self {
            window,
            interval,
            base: random.between(base.0, base.1) * MIB,
            growth: random.between(growth.0, growth.1).max(0.15),
            noise: random.between(noise.0, noise.1),
        }
    }

    /// Another window.
    pub(crate) const fn over(mut self, window: f64, interval: f64) -> Self {
        self.window = window;
        self.interval = interval;
        self
    }

    /// The shares of the window at which there is a reading, 0 to 1.
    pub(crate) fn moments(&self) -> Vec<f64> {
        let count = (self.window / self.interval).round();
        let mut moments = Vec::new();
        let mut index = 0.0;
        while index <= count {
            moments.push(index / count);
            index += 1.0;
        }
        moments
    }

    /// The trace of readings `(moment, share of the base, life)`, in pages.
    pub(crate) fn trace(&self, readings: &[(f64, f64, u64)]) -> Trace {
        let mut trace = Trace::new();
        trace.extend(readings.iter().map(|&(moment, share, life)| TracePoint {
            at: Duration::from_secs_f64(moment * self.window),
            amount: bytes(share * self.base),
            life,
        }));
        trace
    }
}

/// Whole pages of 4 KiB, never below zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size of memory, made above zero"
)]
fn bytes(amount: f64) -> Bytes {
    Bytes((amount.max(0.0) / 4096.0).round() as u64 * 4096)
}
