//! `/proc/self/status`: the highest resident set size, and the threads.
//!
//! Never opens anything; what the kernel does not print is `None`.

use grey_model::Bytes;
use grey_telemetry::ascii::{lines, parse_u64, words};

/// The two lines of `status` that a reading has.
///
/// # Kernel
/// `/proc/PID/status`, proc_pid_status(5): `VmHWM`, `Threads`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PeakAndThreads {
    pub(super) peak: Option<Bytes>,
    pub(super) threads: Option<u64>,
}

pub(super) fn parse_peak_and_threads(text: &[u8]) -> PeakAndThreads {
    let mut found = PeakAndThreads::default();
    for line in lines(text) {
        if let Some(value) = line.strip_prefix(b"VmHWM:") {
            let mut words = words(value);
            let kib = words.next().and_then(parse_u64);
            if words.next() == Some(b"kB") {
                found.peak = kib.map(Bytes::from_kib);
            }
        } else if let Some(value) = line.strip_prefix(b"Threads:") {
            found.threads = parse_u64(value.trim_ascii());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_two_lines_are_found_among_the_others() {
        let text = b"Name:\tx\nVmPeak:\t 900 kB\nVmHWM:\t    1740 kB\nThreads:\t12\nSigQ:\t1/2\n";
        let found = parse_peak_and_threads(text);
        assert_eq!(found.peak, Some(Bytes::from_kib(1740)));
        assert_eq!(found.threads, Some(12));
    }

    #[test]
    fn what_is_missing_or_broken_is_unknown() {
        for text in [
            &b""[..],
            b"VmHWM:\nThreads:\n",
            b"VmHWM:\t12 pages\nThreads:\t-1\n",
        ] {
            assert_eq!(
                parse_peak_and_threads(text),
                PeakAndThreads::default(),
                "{}",
                text.escape_ascii()
            );
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_peak_and_threads(&text);
        }
    }
}
