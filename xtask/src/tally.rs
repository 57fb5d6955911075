//! Counts what passed, failed and was skipped, over every kind of test.
//!
//! Never runs anything.

use std::fmt;

/// What the line of a test contains that could not show anything here. The
/// test programs know only passed, failed and ignored, and count it as passed.
const SKIPPED: &str = "skipped-test: ";

/// How many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// One that passed, or one that failed.
    pub(crate) fn one(passed: bool) -> Self {
        Self {
            passed: u64::from(passed),
            failed: u64::from(!passed),
            skipped: 0,
        }
    }

    /// Both together.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Sums the `test result:` lines that `cargo test` prints, and takes out of
    /// those that passed what says of itself that it was skipped. A run that failed
    /// without a failed test (it did not compile, it crashed) counts as one
    /// failure, so that it cannot pass for nothing.
    pub(crate) fn of_cargo_test(output: &str, success: bool) -> Self {
        let mut sum = Self::default();
        for line in output.lines() {
            if let Some((_, counts)) = line.split_once("test result: ") {
                sum.passed += count(counts, " passed");
                sum.failed += count(counts, " failed");
                sum.skipped += count(counts, " ignored");
            }
        }
        let skipped = output.matches(SKIPPED).count() as u64;
        sum.passed = sum.passed.saturating_sub(skipped);
        sum.skipped += skipped;
        if !success && sum.failed == 0 {
            sum.failed = 1;
        }
        sum
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(out, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// The number before a word: ` passed` in `ok. 18 passed; 0 failed; ...`.
fn count(text: &str, word: &str) -> u64 {
    text.split_once(word)
        .and_then(|(before, _)| before.rsplit([' ', ';', '.']).next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "running 3 tests\n\
        test result: ok. 18 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.08s\n\
        test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s\n";

    #[test]
    fn every_result_line_is_summed() {
        let tally = Tally::of_cargo_test(OUTPUT, false);
        assert_eq!(tally.to_string(), "20 passed, 4 failed, 1 skipped");
    }

    #[test]
    fn a_test_that_says_it_was_skipped_has_not_passed() {
        let output = "test a ... ok\nskipped-test: b: needs root\ntest b ... ok\n\
            test c ... skipped-test: c: needs root\nok\n\
            test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured\n";
        let tally = Tally::of_cargo_test(output, true);
        assert_eq!(tally.to_string(), "1 passed, 0 failed, 2 skipped");
    }

    #[test]
    fn the_tests_say_it_in_the_words_that_are_counted() {
        assert_eq!(SKIPPED, grey_fake_kernel::SKIPPED);
    }

    #[test]
    fn a_run_that_did_not_compile_is_one_failure() {
        assert_eq!(
            Tally::of_cargo_test("error: could not compile", false).failed,
            1
        );
        assert_eq!(Tally::of_cargo_test("", true), Tally::default());
    }
}
