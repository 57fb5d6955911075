//! Settings of a process and of KSM: what is planned, refused and undone.

use crate::machine::*;
use grey_model::*;

fn ksm_changes(facts: &PreflightFacts, speed: KsmSpeed) -> Vec<(String, String, String)> {
    steps(facts, Action::EnableKsm { speed })
        .into_iter()
        .map(|step| match step.change {
            Change::Set {
                knob,
                before,
                after,
            } => (knob.to_string(), before.unwrap().0, after.unwrap().0),
            Change::Once { .. } => panic!("KSM is a setting"),
        })
        .collect()
}

#[test]
fn the_ksm_advisor_stops_before_the_speed_is_set() {
    let mut facts = machine();
    facts.ksm.as_mut().unwrap().advisor_mode = Some("scan-time".to_owned());
    let changes = ksm_changes(&facts, KsmSpeed::Aggressive);
    let names: Vec<&str> = changes.iter().map(|change| change.0.as_str()).collect();
    let all = ["advisor_mode", "pages_to_scan", "sleep_millisecs", "run"];
    assert_eq!(names, all.map(|file| format!("ksm/{file}")));
}

#[test]
fn ksm_that_already_scans_faster_is_not_slowed_down() {
    let mut facts = machine();
    facts.ksm.as_mut().unwrap().pages_to_scan = Some(20_000);
    facts.ksm.as_mut().unwrap().run = Some(1);
    // What is so already is asked for again: a lease may be about to end it.
    let changes = ksm_changes(&facts, KsmSpeed::Aggressive);
    let of = |name: &str| changes.iter().find(|change| change.0 == name).unwrap();
    for name in ["ksm/pages_to_scan", "ksm/run"] {
        let (_, before, after) = of(name);
        assert_eq!(before, after, "{name}");
    }
}

#[test]
fn ksm_is_not_supported_where_the_kernel_has_none() {
    let facts = PreflightFacts {
        ksm: None,
        ..machine()
    };
    let refusal = refusal(
        &facts,
        Action::EnableKsm {
            speed: KsmSpeed::AsIs,
        },
    );
    assert_eq!(refusal.kind, RefusalKind::NotSupported);
}

#[test]
fn lowering_an_oom_score_without_the_capability_is_left_to_the_kernel_and_warned_of() {
    let mut facts = machine();
    facts.privileges.sys_resource = false;
    let raised = plan(&facts, Action::OomScoreAdj { value: 500 }).unwrap();
    assert_eq!(raised.warnings, Vec::<String>::new());
    let lowered = plan(&facts, Action::OomScoreAdj { value: -1 }).unwrap();
    assert!(lowered.warnings[0].contains("CAP_SYS_RESOURCE"));
    assert!(!lowered.steps.is_empty());
}

#[test]
fn a_ksm_that_was_unmerging_is_told_to_be_stopped_by_the_undo() {
    let mut facts = machine();
    facts.ksm.as_mut().unwrap().run = Some(2);
    let steps = steps(
        &facts,
        Action::EnableKsm {
            speed: KsmSpeed::AsIs,
        },
    );
    assert!(
        steps[0].undo.starts_with("stop it with 0"),
        "{}",
        steps[0].undo
    );
}

#[test]
fn an_oom_score_out_of_range_is_a_usage_error() {
    assert_eq!(
        refusal(&machine(), Action::OomScoreAdj { value: 1001 }).kind,
        RefusalKind::Usage
    );
}

#[test]
fn an_rlimit_keeps_the_hard_limit() {
    let mut facts = process_target();
    facts.rlimit_data = Some(format!("unlimited:{}", mib(900).0));
    let steps = steps(&facts, Action::RlimitData { limit: mib(500) });
    let Change::Set { before, after, .. } = &steps[0].change else {
        panic!()
    };
    assert_eq!(
        before.as_ref().unwrap().0,
        format!("unlimited:{}", mib(900).0)
    );
    assert_eq!(
        after.as_ref().unwrap().0,
        format!("{}:{}", mib(500).0, mib(900).0)
    );
    assert_eq!(
        refusal(&facts, Action::RlimitData { limit: mib(901) }).kind,
        RefusalKind::Usage
    );
}

#[test]
fn an_rlimit_under_what_is_in_use_is_refused() {
    let refusal = refusal(&process_target(), Action::RlimitData { limit: mib(171) });
    assert_eq!(refusal.kind, RefusalKind::Unsafe);
}

#[test]
fn the_hint_of_a_refused_rlimit_is_an_option_as_it_is_typed() {
    let mut facts = process_target();
    let low = refusal(&facts, Action::RlimitData { limit: mib(171) }).hint;
    assert!(low.ends_with("use at least --rlimit-data 179M"), "{low}");
    facts.rlimit_data = Some(format!("unlimited:{}", mib(900).0));
    let high = refusal(&facts, Action::RlimitData { limit: mib(901) }).hint;
    assert_eq!(high, "use at most --rlimit-data 943718400");
}

#[test]
fn an_rlimit_is_undone_to_a_size_that_people_can_read() {
    let facts = PreflightFacts {
        rlimit_data: Some("524288000:unlimited".to_owned()),
        target: Some(target(TargetKind::Process, "/web", Owner::Nobody)),
        ..machine()
    };
    let action = Action::RlimitData { limit: mib(400) };
    let undo = &steps(&facts, action)[0].undo;
    assert_eq!(undo, "set it back to 500.0 MiB:unlimited");
}
