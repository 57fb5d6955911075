//! The resident set over the heap, and what that says.
//!
//! Never divides by an empty heap.

use std::fmt;

use grey_model::Bytes;

/// Above this the resident set is much larger than the heap.
pub const RSS_HEAP_WARNING: f64 = 2.0;

/// How many times the heap the resident set is. Prints with its meaning.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct RssHeapRatio(f64);

impl RssHeapRatio {
    /// `None` when the heap is empty.
    #[must_use]
    pub fn new(rss: Bytes, heap: Bytes) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        (heap != Bytes::ZERO).then(|| Self(rss.get() as f64 / heap.get() as f64))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// Whether it is above [`RSS_HEAP_WARNING`].
    #[must_use]
    pub fn is_high(self) -> bool {
        self.0 > RSS_HEAP_WARNING
    }

    /// What it means, a line each.
    #[must_use]
    pub fn meaning(self) -> &'static [&'static str] {
        if self.is_high() {
            &[
                "Warning: RSS much higher than heap",
                "This may indicate:",
                "- Large index structures (LEANN, Tantivy)",
                "- Memory fragmentation",
                "- External library allocations",
            ]
        } else if self.0 >= 1.0 {
            &["The heap explains most of the resident memory"]
        } else {
            &["Part of the heap is not resident: never touched, or in swap"]
        }
    }
}

impl fmt::Display for RssHeapRatio {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RSS/Heap ratio: {:.2}", self.0)?;
        for line in self.meaning() {
            write!(formatter, "\n{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_heap_has_no_ratio() {
        assert_eq!(RssHeapRatio::new(Bytes(5), Bytes::ZERO), None);
    }

    #[test]
    fn exactly_twice_is_no_warning_yet() {
        assert!(!RssHeapRatio::new(Bytes(200), Bytes(100)).unwrap().is_high());
        assert!(RssHeapRatio::new(Bytes(201), Bytes(100)).unwrap().is_high());
    }

    #[test]
    fn a_heap_larger_than_the_resident_set_is_explained() {
        let ratio = RssHeapRatio::new(Bytes(50), Bytes(100)).unwrap();
        assert!(ratio.to_string().contains("not resident"), "{ratio}");
    }
}
