//! "1 process", "2 processes": counts in sentences.
//!
//! Never guesses a plural: it is given.

/// `count` with the word that goes with it.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        assert_eq!(counted(0, "change", "changes"), "0 changes");
        assert_eq!(counted(1, "change", "changes"), "1 change");
        assert_eq!(counted(2, "change", "changes"), "2 changes");
    }
}
