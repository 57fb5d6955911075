//! Whether our readings are psutil's readings.
//!
//! Never compares processes that move: only the ones that this program started
//! and that do nothing meanwhile.

use std::collections::BTreeMap;

use grey_telemetry::Kernel;
use grey_telemetry::process::{Detail, ProcessReading, Scratch, read_process};
use serde::Serialize;

use crate::error::BenchError;
use crate::external::External;

/// How our readings of the started processes compare with psutil's
/// `memory_full_info`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Agreement {
    /// Processes that both have read.
    pub(crate) compared: u64,
    /// Processes that we, or psutil, did not read.
    pub(crate) not_compared: u64,
    /// Amounts (RSS, PSS, USS, swap) that are the same to the byte.
    pub(crate) same: u64,
    /// Amounts that differ by no more than a page.
    pub(crate) within_a_page: u64,
    /// Amounts that differ by more.
    pub(crate) different: u64,
    /// The largest difference, in bytes.
    pub(crate) largest_difference_bytes: u64,
}

impl Agreement {
    /// Whether all were compared, and none differs by more than a page.
    pub(crate) fn holds(&self) -> bool {
        self.compared > 0 && self.not_compared == 0 && self.different == 0
    }
}

/// Compares the processes `pids`.
pub(crate) fn compare(
    kernel: &Kernel,
    psutil: &mut External,
    pids: impl Iterator<Item = u32>,
) -> Result<Agreement, BenchError> {
    let answer = psutil.ask("dump")?;
    let theirs: BTreeMap<u32, [u64; 4]> = serde_json::from_str(&answer)?;
    let mut scratch = Scratch::new(kernel);
    let mut agreement = Agreement::default();
    for pid in pids {
        let ours = read_process(kernel, pid, Detail::Full, &mut scratch)?;
        match (amounts(&ours), theirs.get(&pid)) {
            (Some(ours), Some(theirs)) => {
                agreement.compared += 1;
                for (ours, &theirs) in ours.into_iter().zip(theirs) {
                    agreement.add(ours.abs_diff(theirs), kernel.page_size.get());
                }
            }
            _ => agreement.not_compared += 1,
        }
    }
    Ok(agreement)
}

impl Agreement {
    fn add(&mut self, difference: u64, page: u64) {
        if difference == 0 {
            self.same += 1;
        } else if difference <= page {
            self.within_a_page += 1;
        } else {
            self.different += 1;
        }
        self.largest_difference_bytes = self.largest_difference_bytes.max(difference);
    }
}

/// In the order in which the Python side sends them.
fn amounts(reading: &ProcessReading) -> Option<[u64; 4]> {
    let memory = &reading.memory;
    let amounts = [memory.rss?, memory.pss?, memory.uss?, memory.swap?];
    Some(amounts.map(grey_model::Bytes::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_amount_that_is_off_breaks_the_agreement() {
        let mut agreement = Agreement {
            compared: 1,
            ..Agreement::default()
        };
        agreement.add(0, 4096);
        agreement.add(4096, 4096);
        assert!(agreement.holds());
        agreement.add(4097, 4096);
        assert!(!agreement.holds());
        assert_eq!(agreement.largest_difference_bytes, 4097);
    }

    #[test]
    fn nothing_compared_is_no_agreement() {
        assert!(!Agreement::default().holds());
    }
}
