//! The plan and its effects as people read them.
//!
//! Pure: documents become text. What is talk and what is data is decided by
//! the caller.

use grey_model::{Bytes, Effect, KnobValue, Risk, Verdict};

use super::document::PlannedStep;
use crate::table::{Column, DIM, Table, Tone, Value, heading, wrap};

/// The plan: what is to be changed, what it should bring, and why.
pub(crate) fn plan(steps: &[PlannedStep], simulation: bool, width: Option<usize>) -> String {
    let remark = if simulation {
        "simulation: nothing is changed"
    } else {
        "checked; each step is undone as said below it"
    };
    let mut text = heading("Plan", remark, width);
    let mut table = Table::new(vec![
        Column::number("", 0),
        Column::text("WHAT", 0).gives_way(16),
        // What is set is never hidden, nor cut.
        Column::text("BEFORE", 0).optional(),
        Column::text("AFTER", 0).optional(),
        Column::number("PREDICTED", 0),
        Column::text("RISK", 0),
    ]);
    for (number, step) in (1u32..).zip(steps) {
        table.row(vec![
            Value::new(number).tone(Tone::Dim),
            Value::new(&step.knob),
            Value::or_unknown(step.before.as_deref().map(friendly)),
            Value::or_unknown(step.after.as_deref().map(friendly)),
            Value::or_unknown(step.predicted_bytes.map(Bytes)),
            risk(step.risk),
        ]);
    }
    text.push_str(&table.render(width));
    let most = width.map(|width| width.saturating_sub(5));
    for (number, step) in (1u32..).zip(steps) {
        text.push_str(&format!("\n  {number}. "));
        indent(&mut text, &wrap(&step.reason, most));
        text.push_str(&format!("     {DIM}undo:{DIM:#} "));
        indent(
            &mut text,
            &wrap(&step.undo, most.map(|most| most.saturating_sub(6))),
        );
    }
    text
}

/// The effects: predicted beside actual, with a verdict.
pub(crate) fn effects(effects: &[Effect], width: Option<usize>) -> String {
    let mut text = heading("Effects", "freed, and how it showed", width);
    let mut table = Table::new(vec![
        Column::number("", 0),
        Column::text("WHAT", 0).gives_way(28),
        Column::number("PREDICTED", 0),
        Column::number("FREED", 0),
        Column::number("NET", 1).optional(),
        Column::number("AVAILABLE", 2).optional(),
        Column::number("CGROUP", 3).optional(),
        Column::number("PSS", 3).optional(),
        Column::number("CAME BACK", 1).optional(),
        Column::number("TOOK", 4),
        Column::text("VERDICT", 0),
    ]);
    for (number, effect) in (1u32..).zip(effects) {
        table.row(vec![
            Value::new(number).tone(Tone::Dim),
            Value::new(&effect.knob),
            Value::or_unknown(effect.predicted),
            Value::or_unknown(effect.freed),
            net(effect),
            // Of a setting that frees nothing it would only show what others did.
            Value::or_unknown(effect.freed.and(effect.available_delta_bytes).map(delta)),
            Value::or_unknown(effect.current_delta_bytes.map(delta)),
            Value::or_unknown(effect.pss_delta_bytes.map(delta)),
            came_back(effect.refaulted),
            Value::new(format!("{} ms", effect.took_milliseconds)).tone(Tone::Dim),
            verdict(effect.verdict),
        ]);
    }
    text.push_str(&table.render(width));
    let most = width.map(|width| width.saturating_sub(5));
    for (number, effect) in (1u32..).zip(effects) {
        if !effect.detail.is_empty() {
            text.push_str(&format!("  {number}. "));
            indent(&mut text, &wrap(&effect.detail, most));
        }
    }
    text
}

/// Of less than this, the net says nothing: compressed swap takes its pages in
/// advance, and others swap meanwhile.
const LEAST_TO_WEIGH: Bytes = Bytes::from_mib(1);

/// What the machine gained, once compressed swap took its part.
fn net(effect: &Effect) -> Value {
    if effect.freed.is_some_and(|freed| freed < LEAST_TO_WEIGH) {
        return Value::unknown();
    }
    match (effect.net_freed_bytes, effect.verdict) {
        (Some(bytes), Verdict::MovedNotFreed) => Value::new(delta(bytes)).tone(Tone::Warning),
        (bytes, _) => Value::or_unknown(bytes.map(delta)),
    }
}

fn came_back(refaulted: Option<Bytes>) -> Value {
    match refaulted {
        Some(Bytes::ZERO) => Value::new("0 B").tone(Tone::Dim),
        Some(bytes) => Value::new(bytes).tone(Tone::Warning),
        None => Value::unknown(),
    }
}

fn indent(text: &mut String, lines: &[String]) {
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            text.push_str("     ");
        }
        text.push_str(line);
        text.push('\n');
    }
}

/// A value as the kernel prints it, with large numbers of bytes made readable.
pub(crate) fn friendly(value: &str) -> String {
    KnobValue(value.to_owned()).readable()
}

/// A change with its sign.
fn delta(bytes: i64) -> String {
    let amount = Bytes(bytes.unsigned_abs());
    match bytes {
        0 => amount.to_string(),
        bytes if bytes < 0 => format!("-{amount}"),
        _ => format!("+{amount}"),
    }
}

fn risk(risk: Risk) -> Value {
    match risk {
        Risk::Low => Value::new("low").tone(Tone::Good),
        Risk::Medium => Value::new("medium").tone(Tone::Warning),
        Risk::High => Value::new("high").tone(Tone::Alarm),
    }
}

fn verdict(verdict: Verdict) -> Value {
    match verdict {
        Verdict::Worked => Value::new("worked").tone(Tone::Good),
        Verdict::PartlyWorked => Value::new("in part").tone(Tone::Warning),
        Verdict::NoEffect => Value::new("no effect").tone(Tone::Warning),
        Verdict::MovedNotFreed => Value::new("only moved").tone(Tone::Warning),
        Verdict::AlreadySo => Value::new("already so").tone(Tone::Good),
        Verdict::Refused => Value::new("refused").tone(Tone::Alarm),
        Verdict::Undone => Value::new("undone").tone(Tone::Alarm),
        Verdict::TimedOut => Value::new("timed out").tone(Tone::Alarm),
        Verdict::Failed => Value::new("failed").tone(Tone::Alarm),
    }
}

#[cfg(test)]
mod tests {
    use grey_model::{Change, OneShot};

    use super::*;

    #[test]
    fn of_a_tiny_amount_no_net_is_shown() {
        let shown = |freed: u64| {
            let effect = Effect {
                action: "page_out".to_owned(),
                knob: "process_madvise of process 7".to_owned(),
                predicted: None,
                freed: Some(Bytes::from_kib(freed)),
                compressed_growth_bytes: Some(196 << 10),
                net_freed_bytes: Some(-(144 << 10)),
                available_delta_bytes: None,
                current_delta_bytes: None,
                pss_delta_bytes: None,
                refaulted: None,
                took_milliseconds: 1,
                verdict: Verdict::Worked,
                detail: String::new(),
                journal_id: None,
            };
            effects(&[effect], None)
        };
        assert!(!shown(52).contains("144"), "{}", shown(52));
        assert!(shown(1024).contains("-144.0 KiB"), "{}", shown(1024));
    }

    #[test]
    fn however_narrow_it_is_what_will_be_set_is_shown_in_full() {
        let step = PlannedStep {
            action: "limit".to_owned(),
            knob: "memory.max of /a/long/path/of/groups".to_owned(),
            before: Some("314572800".to_owned()),
            after: Some("134217728".to_owned()),
            predicted_bytes: Some(1 << 20),
            risk: Risk::High,
            reason: String::new(),
            undo: String::new(),
            change: Change::Once {
                shot: OneShot::PageOut {
                    processes: Vec::new(),
                },
            },
        };
        for width in 30..120 {
            let text = plan(std::slice::from_ref(&step), false, Some(width));
            for value in ["BEFORE", "300.0 MiB", "AFTER", "128.0 MiB"] {
                assert!(text.contains(value), "{width}: {text}");
            }
        }
    }

    #[test]
    fn a_change_shows_its_direction() {
        assert_eq!(delta(-2048), "-2.0 KiB");
        assert_eq!(delta(2048), "+2.0 KiB");
        assert_eq!(delta(0), "0 B");
    }
}
