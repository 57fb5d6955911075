//! Times at which the kernel killed nobody, as people read them.
//!
//! Pure: a part of the document becomes text.

use grey_model::NobodyKilled;
use jiff::tz::TimeZone;

use super::report::{advice, item, largest, when};
use crate::count::counted;
use crate::table::{BOLD, DIM, heading};

/// All of them under a heading; nothing where there are none.
pub(super) fn render(cases: &[NobodyKilled], zone: &TimeZone, width: Option<usize>) -> String {
    if cases.is_empty() {
        return String::new();
    }
    let remark = counted(cases.len() as u64, "time", "times");
    let mut text = heading("Out of memory, and nobody killed", &remark, width);
    for case in cases {
        text.push_str(&one(case, zone, width));
    }
    text
}

fn one(case: &NobodyKilled, zone: &TimeZone, width: Option<usize>) -> String {
    let what = match (case.machine_stopped, &case.limit_cgroup) {
        (Some(true), _) => "the machine stopped".to_owned(),
        (_, Some(cgroup)) => cgroup.to_string(),
        (_, None) => "nobody was killed".to_owned(),
    };
    let when = when(case.at, case.since_boot_seconds, zone);
    let mut text = format!("\n{BOLD}{what}{BOLD:#}  {DIM}{when}{DIM:#}\n");
    for line in &case.explanation {
        text.push_str(&item("", line, width));
    }
    if case.times > 1 {
        let again = format!("it was so {} times in a row", case.times);
        text.push_str(&item("", &again, width));
    }
    if let Some(consumers) = &case.consumers {
        text.push_str(&largest(consumers, width));
    }
    for line in &case.advice {
        text.push_str(&advice(line, width));
    }
    text
}
