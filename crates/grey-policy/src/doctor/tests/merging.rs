//! Huge pages and KSM, on both sides of each line.

use grey_model::{DoctorFacts, KsmState, Pages, Reading};

use super::super::CheckState::{Note, Ok, Unknown, Warning};
use super::machine::{assert_sides, found, value};

#[test]
fn huge_pages_for_everybody_are_worth_knowing() {
    let always = |facts: &mut DoctorFacts| {
        facts.setup.huge_pages.enabled = Reading::Known("always".to_owned());
    };
    let plain = found("huge_pages", always);
    assert_eq!(plain.state, Note);
    assert!(plain.found.contains("511"), "{}", plain.found);
    let served = found("huge_pages", |it| {
        always(it);
        it.setup.sparse_servers.push("redis-server".to_owned());
    });
    assert!(served.found.contains("redis-server"), "{}", served.found);
    assert_sides(
        "huge_pages",
        &[
            (|it| it.setup.huge_pages.enabled = Reading::Absent, Ok),
            (
                |it| it.setup.huge_pages.enabled = Reading::Known("never".to_owned()),
                Ok,
            ),
        ],
    );
    fn stalls(facts: &mut DoctorFacts, enabled: &str) {
        facts.setup.huge_pages.defrag = Reading::Known("always".to_owned());
        facts.setup.huge_pages.enabled = Reading::Known(enabled.to_owned());
    }
    assert_sides(
        "huge_page_stalls",
        &[
            (|it| stalls(it, "madvise"), Note),
            (|it| stalls(it, "never"), Ok),
        ],
    );
}

#[test]
fn merging_that_merges_nothing_is_wasted() {
    fn runs(facts: &mut DoctorFacts, [sharing, unshared, scans]: [u64; 3]) {
        facts.setup.ksm = Reading::Known(KsmState {
            run: Some(1),
            pages_sharing: Some(Pages(sharing)),
            pages_unshared: Some(Pages(unshared)),
            pages_volatile: Some(Pages(0)),
            full_scans: Some(scans),
            ..KsmState::default()
        });
    }
    assert_sides(
        "ksm",
        &[
            (|it| it.setup.ksm = Reading::Absent, Ok),
            (|it| runs(it, [100, 5000, 9]), Ok),
            (|it| runs(it, [0, 5000, 2]), Ok),
            (|it| runs(it, [0, 5000, 3]), Warning),
            // Nobody has asked: there is nothing to look at.
            (|it| runs(it, [0, 0, 9]), Ok),
            // Zero pages are merged with the kernel's own.
            (
                |it| {
                    runs(it, [0, 5000, 9]);
                    value(&mut it.setup.ksm).zero_pages = Some(Pages(1));
                },
                Ok,
            ),
            (
                |it| {
                    runs(it, [100, 5000, 9]);
                    value(&mut it.setup.ksm).general_profit_bytes = Some(-1);
                },
                Note,
            ),
            (
                |it| {
                    runs(it, [100, 5000, 9]);
                    value(&mut it.setup.ksm).pages_unshared = None;
                },
                Unknown,
            ),
        ],
    );
}
