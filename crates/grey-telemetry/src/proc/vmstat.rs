//! `/proc/vmstat`: counters of reclaim, refaults, swapping and OOM kills.
//!
//! Never keeps all of its lines: only those that [`Vmstat`] names.

use grey_model::Vmstat;

use crate::ascii;
use crate::read::ReadError;
use crate::roots::Kernel;

/// Reads `/proc/vmstat`.
///
/// # Errors
/// [`ReadError`] when the file cannot be read.
pub fn read_vmstat(kernel: &Kernel, buffer: &mut Vec<u8>) -> Result<Vmstat, ReadError> {
    kernel.proc.read("vmstat", buffer).map(parse_vmstat)
}

/// The counters that are kept; other lines are passed over.
#[must_use]
pub fn parse_vmstat(text: &[u8]) -> Vmstat {
    let mut vmstat = Vmstat::default();
    for (key, value) in ascii::key_values(text) {
        if let Some(place) = vmstat.counter_mut(key) {
            *place = Some(value);
        }
    }
    vmstat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let vmstat = parse_vmstat(b"pgscan_direct_throttle 9\npgscan_direct 5\noom_kill 2\n");
        assert_eq!(vmstat.pgscan_direct, Some(5));
        assert_eq!(vmstat.oom_kill, Some(2));
        assert_eq!(vmstat.pswpin, None);
    }

    #[test]
    fn a_bad_line_costs_only_itself() {
        let vmstat = parse_vmstat(b"oom_kill\npswpin x\n pswpout 3\npgfault 4");
        assert_eq!(vmstat.oom_kill, None);
        assert_eq!(vmstat.pswpin, None);
        assert_eq!(vmstat.pgfault, Some(4));
    }
}
