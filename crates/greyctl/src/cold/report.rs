//! Cold memory as people read it.
//!
//! Pure. Says of each number how it was told, what it cost and how far it can
//! be believed; where nothing serves, why each method does not.

use std::time::Duration;

use grey_model::{ColdMemory, KernelText, roughly};

use crate::table::{Column, DIM, Table, Value, heading, wrap};

const INDENT: usize = 2;

/// The section of a diagnosis; nothing when nobody asked for it.
pub(crate) fn section(cold: Option<&[ColdMemory]>, width: Option<usize>) -> String {
    let Some(all) = cold else {
        return String::new();
    };
    all.iter().map(|cold| one(cold, width)).collect()
}

fn one(cold: &ColdMemory, width: Option<usize>) -> String {
    let name = KernelText::from(&cold.target);
    let (Some(method), Some(counted)) = (cold.method, cold.counted) else {
        let mut text = heading(&format!("Cold memory of {name}"), "not known", width);
        for candidate in &cold.candidates {
            let line = format!("{}: {}", candidate.method, candidate.reason);
            text.push_str(&indented(&line, width));
        }
        return text;
    };
    let remark = format!("of {counted}, told by {method}");
    let mut text = heading(&format!("Cold memory of {name}"), &remark, width);
    let mut table = Table::new(vec![
        Column::number("NOT USED FOR", 0),
        Column::number("COLD", 0),
        Column::number("SHARE", 1),
        Column::number("AT LEAST", 0),
        Column::number("AT MOST", 0),
    ]);
    for window in &cold.windows {
        let share = window.cold.and_then(|cold| cold.percent_of(counted));
        table.row(vec![
            Value::new(roughly(Duration::from_secs(window.window_seconds))),
            Value::or_unknown(window.cold),
            Value::or_unknown(share),
            Value::new(window.uncertainty.at_least),
            Value::new(window.uncertainty.at_most),
        ]);
    }
    text.push_str(&table.render(width));
    text.push_str(&indented(&cost(cold), width));
    for line in cold.remarks.iter().chain(&cold.disturbs) {
        text.push_str(&indented(line, width));
    }
    text
}

fn cost(cold: &ColdMemory) -> String {
    let cost = &cold.cost;
    if cost.writes == 0 {
        return "it cost nothing: the kernel printed what it knew".to_owned();
    }
    let time = cost.cpu_seconds.map_or_else(String::new, |seconds| {
        format!(" and {:.1} ms on a CPU", seconds * 1000.0)
    });
    format!("it cost {} pages walked{time}", cost.pages_walked)
}

fn indented(text: &str, width: Option<usize>) -> String {
    let room = width.map(|width| width.saturating_sub(INDENT));
    wrap(text, room)
        .iter()
        .map(|line| format!("{:INDENT$}{DIM}{line}{DIM:#}\n", ""))
        .collect()
}

#[cfg(test)]
mod tests {
    use grey_model::{Bytes, ColdCandidate, ColdCost, ColdMethod, ColdUncertainty, ColdWindow};

    use super::*;

    fn cold(method: Option<ColdMethod>) -> ColdMemory {
        ColdMemory {
            target: "web".to_owned(),
            method,
            counted: Some(Bytes::from_mib(100)),
            blind_seconds: None,
            windows: vec![ColdWindow {
                window_seconds: 60,
                cold: Some(Bytes::from_mib(50)),
                uncertainty: ColdUncertainty {
                    at_least: Bytes::from_mib(40),
                    at_most: Bytes::from_mib(50),
                },
            }],
            cost: ColdCost {
                pages_walked: 51_200,
                cpu_seconds: Some(0.0015),
                writes: 1,
            },
            disturbs: Some("marks were taken away".to_owned()),
            remarks: Vec::new(),
            candidates: vec![ColdCandidate {
                method: "damon".to_owned(),
                used: false,
                reason: "there is none".to_owned(),
            }],
        }
    }

    #[test]
    fn the_number_comes_with_its_method_cost_and_bounds() {
        let text = section(Some(&[cold(Some(ColdMethod::ClearedReferences))]), None);
        for words in [
            "of 100.0 MiB, told by cleared-references",
            "50.0 MiB",
            "40.0 MiB",
            "51200 pages walked and 1.5 ms on a CPU",
            "marks were taken away",
        ] {
            assert!(text.contains(words), "{text}");
        }
        assert!(!text.contains("damon"), "{text}");
    }

    #[test]
    fn where_nothing_serves_each_method_says_why() {
        let text = section(Some(&[cold(None)]), None);
        assert!(text.contains("damon: there is none"), "{text}");
        assert!(!text.contains("50.0 MiB"), "{text}");
        assert_eq!(section(None, None), "");
    }
}
