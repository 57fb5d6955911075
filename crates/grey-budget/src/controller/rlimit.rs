//! What an rlimit leaves for memory that is in use: the limit less what is
//! mapped beside it.
//!
//! Never asks for memory back until the mappings shrink, which they may never
//! do: allocators keep addresses and use them again.

use grey_model::Bytes;

/// What is mapped and not resident, and is no room that the allocator would
/// use again: code, stacks, arenas, what was mapped and not touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mapped {
    /// What was mapped at the last look.
    mapped: Option<Bytes>,
    beside: Bytes,
}

impl Mapped {
    /// A look. What is mapped anew is counted as used up until it is resident;
    /// what falls out of the resident set and stays mapped can be used again.
    pub(super) fn observe(&mut self, mapped: Bytes, resident: Bytes) {
        let most = mapped.saturating_sub(resident);
        self.beside = match self.mapped {
            None => most,
            Some(before) => self
                .beside
                .saturating_add(mapped.saturating_sub(before))
                .min(most),
        };
        self.mapped = Some(mapped);
    }

    /// How much may be resident under `limit`: a byte at least, so that all of
    /// nothing is full.
    pub(super) fn room(&self, limit: Bytes) -> Bytes {
        limit.saturating_sub(self.beside).max(Bytes(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Bytes = Bytes(300);

    fn seen(looks: &[(u64, u64)]) -> Bytes {
        let mut mapped = Mapped::default();
        for (size, resident) in looks {
            mapped.observe(Bytes(*size), Bytes(*resident));
        }
        mapped.room(LIMIT)
    }

    #[test]
    fn what_is_mapped_beside_memory_in_use_is_taken_off_the_limit() {
        assert_eq!(seen(&[(60, 0)]), Bytes(240));
        assert_eq!(seen(&[(60, 0), (260, 200)]), Bytes(240));
        assert_eq!(seen(&[(60, 0), (124, 0)]), Bytes(176), "a new arena");
        assert_eq!(seen(&[(400, 10)]), Bytes(1));
    }

    #[test]
    fn what_was_freed_and_stays_mapped_is_used_again() {
        assert_eq!(seen(&[(60, 0), (260, 200), (260, 50)]), Bytes(240));
        // A new arena beside it is not.
        let looks = [(60, 0), (260, 200), (260, 50), (280, 50)];
        assert_eq!(seen(&looks), Bytes(220));
        // Unmapped is free in any case.
        assert_eq!(seen(&[(60, 0), (124, 0), (60, 0)]), Bytes(240));
    }
}
