//! Facts about whose cgroup is changed, and through whom.

use crate::machine::*;
use grey_model::*;

const LIMIT: Action = Action::Limit {
    limit: MemoryLimit::Bytes(Bytes::from_mib(250)),
};

fn owned(cgroup: &str, owner: Owner) -> PreflightFacts {
    let mut facts = machine();
    facts.host.systemd = true;
    facts.unit = Some(UnitFacts {
        memory_high: Some(MemoryLimit::Max),
        memory_max: Some(MemoryLimit::Bytes(mib(300))),
        ..UnitFacts::default()
    });
    facts.cgroup = Some(group(cgroup));
    facts.target = Some(target(TargetKind::Cgroup, cgroup, owner));
    facts
}

fn bare_process(owner: Owner, cgroup: &str) -> PreflightFacts {
    let mut facts = owned(cgroup, owner.clone());
    let mut process = target(TargetKind::Process, cgroup, owner);
    process.bystanders = 3;
    facts.target = Some(process);
    facts
}

fn unit(name: &str) -> Owner {
    Owner::SystemdUnit {
        unit: name.to_owned(),
    }
}

#[test]
fn a_unit_is_changed_through_systemd_with_its_value_remembered() {
    let steps = steps(
        &owned("/system.slice/web.service", unit("web.service")),
        LIMIT,
    );
    let Change::Set {
        knob,
        before,
        after,
    } = &steps[0].change
    else {
        panic!()
    };
    let expected = Knob::UnitProperty {
        unit: "web.service".to_owned(),
        property: UnitMemoryProperty::MemoryMax,
    };
    assert_eq!(*knob, expected);
    assert_eq!(*before, Some(KnobValue(mib(300).0.to_string())));
    assert_eq!(*after, Some(KnobValue(mib(250).0.to_string())));
}

#[test]
fn a_unit_is_never_written_directly_when_systemd_does_not_answer() {
    let mut facts = owned("/system.slice/web.service", unit("web.service"));
    facts.unit = None;
    assert_eq!(refusal(&facts, LIMIT).kind, RefusalKind::NotSupported);
}

#[test]
fn a_unit_that_oomd_watches_is_warned_about() {
    let mut facts = owned("/system.slice/web.service", unit("web.service"));
    facts.unit.as_mut().unwrap().oomd_kills_on_pressure = true;
    let plan = plan(&facts, LIMIT).unwrap();
    assert!(
        plan.warnings
            .iter()
            .any(|warning| warning.contains("systemd-oomd"))
    );
}

#[test]
fn what_others_manage_is_refused_with_their_own_command() {
    let id = "0123456789abcdef".to_owned();
    for (owner, command) in [
        (
            Owner::Container {
                engine: "docker".to_owned(),
                id: id.clone(),
            },
            "docker update",
        ),
        (
            Owner::Container {
                engine: "podman".to_owned(),
                id,
            },
            "podman update",
        ),
        (Owner::Kubelet { container: None }, "resources.limits"),
        (
            Owner::DelegatedBySystemd {
                unit: "web.service".to_owned(),
            },
            "--target web.service",
        ),
        (
            Owner::UserUnit {
                manager: "user@7.service".to_owned(),
                unit: "a.scope".to_owned(),
            },
            "systemctl --user",
        ),
    ] {
        let refusal = refusal(&owned("/some/group", owner.clone()), LIMIT);
        assert_eq!(refusal.kind, RefusalKind::Unsafe);
        assert!(
            refusal.hint.contains(command),
            "{owner:?}: {}",
            refusal.hint
        );
    }
}

#[test]
fn the_command_of_whoever_manages_it_has_the_limit_that_was_asked_for() {
    let docker = |id: &str| Owner::Container {
        engine: "docker".to_owned(),
        id: id.to_owned(),
    };
    let user = Owner::UserUnit {
        manager: "user@7.service".to_owned(),
        unit: "a\\x2db.scope".to_owned(),
    };
    let high = |limit| Action::High { limit };
    for (owner, action, end) in [
        (
            docker("0123456789abcdef"),
            LIMIT,
            "the limit: docker update --memory 262144000 --memory-swap -1 0123456789ab",
        ),
        (
            user.clone(),
            LIMIT,
            ": systemctl --user set-property --runtime -- 'a\\x2db.scope' MemoryMax=262144000",
        ),
        (
            user,
            high(MemoryLimit::Max),
            ": systemctl --user set-property --runtime -- 'a\\x2db.scope' MemoryHigh=infinity",
        ),
        (
            docker("0123456789abcdef"),
            high(MemoryLimit::Max),
            "lift its limit with docker",
        ),
    ] {
        let hint = refusal(&owned("/some/group", owner), action).hint;
        assert!(hint.ends_with(end), "{hint}");
    }
}

#[test]
fn reclaim_and_page_out_work_on_what_others_manage() {
    let owner = Owner::Container {
        engine: "docker".to_owned(),
        id: "0123456789ab".to_owned(),
    };
    let facts = owned("/docker/0123456789ab", owner);
    assert!(plan(&facts, Action::Reclaim { amount: mib(10) }).is_ok());
    assert!(plan(&facts, Action::PageOut).is_ok());
}

#[test]
fn a_bare_process_gets_a_scope_where_systemd_runs() {
    let facts = bare_process(unit("session-1.scope"), "/user.slice/session-1.scope");
    let plan = plan(&facts, LIMIT).unwrap();
    let Change::Set {
        knob:
            Knob::TransientScope {
                scope,
                process,
                origin,
            },
        before,
        ..
    } = &plan.steps[0].change
    else {
        panic!("{plan:?}")
    };
    assert_eq!(scope, "grey-optimizer-77.scope");
    assert_eq!(*process, id(77));
    assert_eq!(*origin, path("/user.slice/session-1.scope"));
    assert_eq!(*before, None);
    let Change::Set {
        knob: Knob::UnitProperty { unit, .. },
        ..
    } = &plan.steps[1].change
    else {
        panic!("{plan:?}")
    };
    assert_eq!(unit, scope);
    assert!(
        plan.warnings
            .iter()
            .any(|warning| warning.contains("stays charged")),
        "{plan:?}"
    );
}

#[test]
fn a_process_inside_a_shared_service_is_refused() {
    let facts = bare_process(unit("web.service"), "/system.slice/web.service");
    let refusal = refusal(&facts, LIMIT);
    assert!(
        refusal.hint.contains("--target web.service"),
        "{}",
        refusal.hint
    );
}

#[test]
fn a_bare_process_gets_a_group_of_ours_without_systemd() {
    let mut facts = bare_process(Owner::Root, "/");
    facts.host.systemd = false;
    let steps = steps(&facts, LIMIT);
    let knobs: Vec<String> = steps
        .iter()
        .map(|step| match &step.change {
            Change::Set { knob, .. } => knob.to_string(),
            Change::Once { shot } => shot.to_string(),
        })
        .collect();
    assert_eq!(
        knobs,
        [
            "cgroup.subtree_control of /",
            "cgroup /grey-optimizer",
            "cgroup.subtree_control of /grey-optimizer",
            "cgroup /grey-optimizer/web-77",
            "cgroup of process 77",
            "memory.max of /grey-optimizer/web-77",
        ]
    );
}

#[test]
fn what_is_already_there_is_not_made_again() {
    let mut facts = bare_process(Owner::Root, "/");
    facts.host.systemd = false;
    facts.root_has_memory_controller = Some(true);
    facts.our_subtree = Some(true);
    assert_eq!(steps(&facts, LIMIT).len(), 3);
}

#[test]
fn both_limits_share_one_group() {
    let mut facts = bare_process(Owner::Root, "/");
    facts.host.systemd = false;
    let high = Action::High {
        limit: MemoryLimit::Bytes(mib(200)),
    };
    let plan = grey_policy::plan(&request(&[LIMIT, high]), &facts).unwrap();
    assert_eq!(plan.steps.len(), 7);
}

#[test]
fn reclaim_from_a_process_that_shares_its_group_is_refused() {
    let facts = bare_process(unit("session-1.scope"), "/user.slice/session-1.scope");
    let refusal = refusal(&facts, Action::Reclaim { amount: mib(10) });
    assert!(refusal.hint.contains("--page-out"), "{}", refusal.hint);
}

#[test]
fn the_root_has_no_limit() {
    let facts = owned("/", Owner::Root);
    assert_eq!(refusal(&facts, LIMIT).kind, RefusalKind::Unsafe);
}

#[test]
fn a_cgroup_whose_name_is_not_utf_8_is_not_told_to_be_renamed() {
    let hint = |bytes: &[u8]| {
        let mut facts = owned("/web", Owner::Nobody);
        let mut target = facts.target.unwrap();
        target.cgroup = CgroupPath::new(bytes);
        facts.target = Some(target);
        refusal(&facts, LIMIT).hint
    };
    let below = hint(b"/build/w\xffb");
    assert!(below.starts_with("limit the one above it: --target /build; or "));
    assert!(below.contains("cannot be renamed"), "{below}");
    assert!(hint(b"/w\xffb").starts_with("have whoever makes it"));
}

#[test]
fn what_is_threaded_is_refused_by_its_type_and_not_by_its_files() {
    let told = |domain: &str| {
        let mut facts = owned("/web/threads", Owner::Nobody);
        facts.cgroup = None;
        facts.threaded_domain = Some(path(domain));
        refusal(&facts, LIMIT)
    };
    assert!(told("/web").reason.contains("is threaded"));
    assert!(told("/web").hint.ends_with("--target /web"));
    assert!(!told("/").hint.contains("--target"));
}
