//! The cache beside bare quick_cache, moka, foyer and a plain LRU: time to get
//! and to insert, and hit ratio at equal bytes on traces.
//!
//! `--no-speed`, `--no-ratios`: one half alone. `--entries=100000`,
//! `--operations=1000000`, `--rounds=7`: how much is done. `--peers=grey-budget,quick_cache`,
//! `--work=get,insert,mixed`, `--threads=1,2`: less of it. `--traces=DIRECTORY`
//! or `GREY_BENCH_TRACES`: where recorded traces are; see `traces`. Never
//! asserts.

mod peers;
mod ratios;
mod speed;
mod traces;

use std::path::PathBuf;

use speed::{Scale, Wanted};

/// How many entries fit, if the command line does not say.
const ENTRIES: u64 = 100_000;
/// Operations of a thread in a round, if the command line does not say.
const OPERATIONS: u64 = 1_000_000;
/// Rounds of each contender, if the command line does not say.
const ROUNDS: u64 = 7;

/// What the command line says.
struct Flags(Vec<String>);

impl Flags {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|flag| flag == name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|flag| flag.strip_prefix(name)?.strip_prefix('='))
    }

    fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.text(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or(otherwise)
    }

    fn list(&self, name: &str, otherwise: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or(otherwise);
        text.split(',').map(str::to_owned).collect()
    }
}

fn main() {
    let flags = Flags(std::env::args().skip(1).collect());
    if !flags.has("--no-speed") {
        let scale = Scale {
            entries: flags.number("--entries", ENTRIES),
            operations: flags.number("--operations", OPERATIONS),
            rounds: usize::try_from(flags.number("--rounds", ROUNDS)).expect("64 bits"),
        };
        let wanted = Wanted {
            peers: flags.list("--peers", "quick_cache,grey-budget,moka,foyer"),
            work: flags.list("--work", "get,insert,mixed"),
            threads: flags
                .list("--threads", "1,2")
                .iter()
                .filter_map(|number| number.parse().ok())
                .collect(),
        };
        speed::measure(scale, &wanted);
    }
    if !flags.has("--no-ratios") {
        let directory = flags.text("--traces").map(PathBuf::from);
        ratios::measure(&directory.unwrap_or_else(traces::directory));
    }
}
