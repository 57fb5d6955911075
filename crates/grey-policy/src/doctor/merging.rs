//! Rules about pages that the kernel makes larger or merges: transparent huge
//! pages, KSM.

use grey_model::{DoctorFacts, Pages, Reading};

use super::finding::{Check, Finding, Remedy, known};

/// Where the huge pages of `enabled` are set, below sysfs.
const ENABLED: &str = "kernel/mm/transparent_hugepage/enabled";
const DEFRAG: &str = "kernel/mm/transparent_hugepage/defrag";

/// `Documentation/admin-guide/mm/transhuge.rst`: with `always` one touched byte
/// may take a huge page, and khugepaged completes pages up to `max_ptes_none`;
/// with `madvise` only where a program asks.
pub(super) fn huge_pages(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("huge_pages", "transparent huge pages");
    const WHY: &str = "a program gets huge pages only where it asks for them";
    const ALWAYS: &str = "a program that touches its memory here and there may be given a huge page \
                          for a few bytes, and grows; others run faster";
    const SERVERS: &str = "a program that touches its memory here and there may be given a huge page \
                           for a few bytes, and grows; the servers named ask for `madvise` or `never`";
    let setup = &facts.setup;
    let enabled = match &setup.huge_pages.enabled {
        Reading::Absent => return CHECK.ok("not built in", WHY),
        reading => known!(CHECK, reading, WHY),
    };
    if enabled != "always" {
        return CHECK.ok(enabled.clone(), WHY);
    }
    let completed = match setup.huge_pages.max_ptes_none.known() {
        Some(pages) => format!("always; khugepaged adds up to {pages} pages to complete one"),
        None => "always".to_owned(),
    };
    let finding = if setup.sparse_servers.is_empty() {
        CHECK.note(completed, ALWAYS)
    } else {
        let servers = setup.sparse_servers.join(", ");
        CHECK.note(format!("{completed}; here runs {servers}"), SERVERS)
    };
    finding.mend(Remedy::SysFile {
        path: ENABLED,
        value: "madvise".to_owned(),
        before: enabled.clone(),
    })
}

/// transhuge.rst, defrag: with `always` whoever needs a huge page waits for
/// reclaim and compaction. It is `madvise` by default.
pub(super) fn huge_page_stalls(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("huge_page_stalls", "waiting for huge pages");
    const WHY: &str = "with `always` a program waits for reclaim and compaction whenever no huge \
                       page is free, which shows as pressure";
    let setup = &facts.setup;
    let defrag = match &setup.huge_pages.defrag {
        Reading::Absent => return CHECK.ok("no huge pages", WHY),
        reading => known!(CHECK, reading, WHY),
    };
    let is_on = setup
        .huge_pages
        .enabled
        .known()
        .is_some_and(|on| on != "never");
    if defrag == "always" && is_on {
        return CHECK.note(defrag.clone(), WHY).mend(Remedy::SysFile {
            path: DEFRAG,
            value: "madvise".to_owned(),
            before: defrag.clone(),
        });
    }
    CHECK.ok(defrag.clone(), WHY)
}

/// Two full scans pass before a page merges: mm/ksm.c, `cmp_and_merge_page`
/// wants an unchanged checksum. This many have shown what there is to merge.
const SCANS_THAT_TELL: u64 = 3;

/// `Documentation/admin-guide/mm/ksm.rst`: `pages_unshared` much above
/// `pages_sharing` is wasted effort; `general_profit` below 0 costs more than
/// it saves.
pub(super) fn same_pages(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("ksm", "KSM");
    const WHY: &str = "KSM merges identical pages of programs that ask for it, and costs CPU time \
                       while it looks";
    const IDLE: &str = "no program has asked for merging, so there is nothing to look at";
    const WASTED: &str = "it has looked at everything several times and merged nothing: the CPU time \
                          is wasted";
    const LOSS: &str = "what KSM keeps to know its pages takes more memory than it saves";
    let ksm = match &facts.setup.ksm {
        Reading::Absent => return CHECK.ok("not built in", WHY),
        reading => known!(CHECK, reading, WHY),
    };
    let Some(run) = ksm.run else {
        return CHECK.unknown("its file `run` is not understood or missing", WHY);
    };
    if run != 1 {
        return CHECK.ok(if run == 0 { "stopped" } else { "unmerging" }, WHY);
    }
    let count = |pages: Option<Pages>| pages.map(|pages| pages.0);
    let (Some(sharing), Some(unshared), Some(volatile)) = (
        count(ksm.pages_sharing),
        count(ksm.pages_unshared),
        count(ksm.pages_volatile),
    ) else {
        return CHECK.unknown("runs; what it merges is not told", WHY);
    };
    let saves = format!("runs; {sharing} pages merged, {unshared} unique");
    let zero_pages = count(ksm.zero_pages).unwrap_or_default();
    if sharing == 0 && zero_pages == 0 {
        if unshared == 0 && volatile == 0 {
            return CHECK.ok("runs; no page to look at", IDLE);
        }
        if ksm.full_scans.is_some_and(|scans| scans >= SCANS_THAT_TELL) {
            return CHECK.warning(saves, WASTED).mend(Remedy::SysFile {
                path: "kernel/mm/ksm/run",
                value: "0".to_owned(),
                before: "1".to_owned(),
            });
        }
    }
    if ksm.general_profit_bytes.is_some_and(|profit| profit < 0) {
        return CHECK
            .note(saves, LOSS)
            .advise("stop it if that stays so; what is merged is then kept merged:")
            .mend(Remedy::SysFile {
                path: "kernel/mm/ksm/run",
                value: "0".to_owned(),
                before: "1".to_owned(),
            });
    }
    CHECK.ok(saves, WHY)
}
