//! Finding what a person points at.

use grey_fake_kernel::{FakeCgroup, FakeKernel, FakeProcess};
use grey_model::{Owner, ProcessId, ResolvedTarget, TargetKind};
use grey_telemetry::{ResolveTargetError, Resolver, resolve_target};

use crate::{open, path};

fn resolve(fake: &FakeKernel, typed: &str) -> Result<ResolvedTarget, ResolveTargetError> {
    resolve_target(&open(fake), &typed.parse().unwrap())
}

fn pids(target: &ResolvedTarget) -> Vec<u32> {
    target.processes.iter().map(|id| id.pid).collect()
}

#[test]
fn a_pid_is_its_process_with_its_start_and_cgroup() {
    let target = resolve(&FakeKernel::full(), "310").unwrap();
    let id = ProcessId {
        pid: 310,
        start_time_ticks: 3100,
    };
    assert_eq!(target.kind, TargetKind::Process);
    assert_eq!(target.name.as_bytes(), b"builder");
    assert_eq!(target.process, Some(id));
    assert_eq!(target.processes, [id]);
    assert_eq!(target.cgroup, Some(path("/build/web")));
    assert_eq!(target.owner, Some(Owner::Nobody));
}

#[test]
fn bystanders_are_neither_the_target_nor_its_descendants() {
    let fake = FakeKernel::full();
    // In /build/web: 310, its child 311, and 320 and 330 beside it.
    assert_eq!(resolve(&fake, "310").unwrap().bystanders, 2);
    assert_eq!(resolve(&fake, "311").unwrap().bystanders, 3);
    // 101 and the zombie 110 descend from 100.
    assert_eq!(resolve(&fake, "100").unwrap().bystanders, 0);
}

#[test]
fn a_descendant_is_found_through_a_parent_in_another_cgroup() {
    let fake = FakeKernel::full()
        .with_process(&FakeProcess::new(400, 310, "middle", "/build"))
        .with_process(&FakeProcess::new(401, 400, "grandchild", "/build/web"))
        .with("cgroup/build/web/cgroup.procs", "310\n401\n");
    assert_eq!(resolve(&fake, "310").unwrap().bystanders, 0);
}

#[test]
fn parents_that_go_round_in_a_circle_end_the_search() {
    let fake = FakeKernel::full()
        .with_process(&FakeProcess::new(400, 401, "a", "/build/web"))
        .with_process(&FakeProcess::new(401, 400, "b", "/build/web"))
        .with("cgroup/build/web/cgroup.procs", "310\n400\n401\n");
    assert_eq!(resolve(&fake, "310").unwrap().bystanders, 2);
}

#[test]
fn kernel_threads_and_the_first_process_are_found_like_others() {
    let fake = FakeKernel::full();
    assert_eq!(resolve(&fake, "1").unwrap().name.as_bytes(), b"systemd");
    let thread = resolve(&fake, "2").unwrap();
    assert_eq!(thread.name.as_bytes(), b"kthreadd");
    assert_eq!(thread.owner, Some(Owner::Root));
}

#[test]
fn a_pid_that_is_gone_is_said_to_be() {
    let fake = FakeKernel::full();
    for typed in ["4000", "220"] {
        let error = resolve(&fake, typed).unwrap_err();
        assert!(
            matches!(error, ResolveTargetError::NoSuchProcess { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn a_name_is_the_one_process_that_has_it() {
    let fake = FakeKernel::full();
    assert_eq!(
        resolve(&fake, "name:builder").unwrap().process.unwrap().pid,
        310
    );
    assert_eq!(resolve(&fake, "builder").unwrap().process.unwrap().pid, 310);
    assert_eq!(
        resolve(&fake, "name:evil) R (x")
            .unwrap()
            .process
            .unwrap()
            .pid,
        210
    );
    let error = resolve(&fake, "name:build").unwrap_err();
    assert!(
        matches!(error, ResolveTargetError::NoSuchName { .. }),
        "{error:?}"
    );
}

#[test]
fn a_name_longer_than_the_kernel_keeps_is_found() {
    let fake = FakeKernel::full().with_process(&FakeProcess::new(
        500,
        1,
        "systemd-journal",
        "/init.scope",
    ));
    assert_eq!(
        resolve(&fake, "systemd-journald")
            .unwrap()
            .process
            .unwrap()
            .pid,
        500
    );
}

#[test]
fn a_name_of_many_lists_them() {
    let error = resolve(&FakeKernel::full(), "nginx").unwrap_err();
    assert_eq!(error.to_string(), "`nginx` is the name of 2 processes");
    assert!(error.hint().is_some());
    let ResolveTargetError::Ambiguous { matches, more, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(more, 0);
    assert_eq!(matches[1].0.pid, 101);
    assert_eq!(matches[1].1.as_bytes(), b"/usr/bin/nginx --run");
}

#[test]
fn a_long_list_of_matches_is_cut_and_counted() {
    let mut fake = FakeKernel::full();
    for pid in 1000..1030 {
        fake = fake.with_process(&FakeProcess::new(pid, 1, "worker", "/build"));
    }
    let error = resolve(&fake, "worker").unwrap_err();
    assert!(error.to_string().contains("30 processes"), "{error}");
    let ResolveTargetError::Ambiguous { matches, more, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!((matches.len(), more), (20, 10));
}

#[test]
fn the_dead_count_only_when_nobody_living_has_the_name() {
    let fake = FakeKernel::full();
    assert_eq!(
        resolve(&fake, "name:gone").unwrap().process.unwrap().pid,
        110
    );
    let fake = fake.with_process(&FakeProcess::new(500, 1, "gone", "/build"));
    assert_eq!(
        resolve(&fake, "name:gone").unwrap().process.unwrap().pid,
        500
    );
}

#[test]
fn a_cgroup_is_everything_in_it_and_below() {
    let target = resolve(&FakeKernel::full(), "/system.slice").unwrap();
    assert_eq!(target.kind, TargetKind::Cgroup);
    assert_eq!(target.name.as_bytes(), b"system.slice");
    assert_eq!(target.process, None);
    assert_eq!(pids(&target), [100, 101, 110, 300, 301]);
    assert_eq!(target.bystanders, 0);
    let error = resolve(&FakeKernel::full(), "/nowhere").unwrap_err();
    assert!(
        matches!(error, ResolveTargetError::NoSuchCgroup { .. }),
        "{error:?}"
    );
}

#[test]
fn a_process_that_ended_meanwhile_is_not_in_the_group() {
    let target = resolve(
        &FakeKernel::full(),
        "/user.slice/user-1000.slice/user@1000.service",
    )
    .unwrap();
    assert_eq!(pids(&target), [200, 210, 230]);
}

#[test]
fn a_container_is_told_by_its_cgroup() {
    let typed = format!("/{}", FakeCgroup::container_path());
    let target = resolve(&FakeKernel::full(), &typed).unwrap();
    assert!(
        matches!(target.owner, Some(Owner::Container { .. })),
        "{target:?}"
    );
}

#[test]
fn a_unit_is_found_anywhere_in_the_tree() {
    let target = resolve(&FakeKernel::full(), "nginx.service").unwrap();
    assert_eq!(target.kind, TargetKind::Unit);
    assert_eq!(target.cgroup, Some(path("/system.slice/nginx.service")));
    assert_eq!(pids(&target), [100, 101, 110]);
    let scope = resolve(&FakeKernel::full(), "app-editor.scope").unwrap();
    assert!(
        matches!(scope.owner, Some(Owner::UserUnit { .. })),
        "{scope:?}"
    );
    let error = resolve(&FakeKernel::full(), "absent.service").unwrap_err();
    assert!(error.hint().unwrap().contains("absent.service"));
}

#[test]
fn a_unit_of_two_users_is_ambiguous() {
    let fake = FakeKernel::full().with_cgroup(&FakeCgroup::new(
        "user.slice/user-1001.slice/user@1001.service/app.slice",
        0,
        &[],
    ));
    let error = resolve(&fake, "app.slice").unwrap_err();
    let ResolveTargetError::AmbiguousUnit { paths, more, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!((paths.len(), more), (2, 0));
}

#[test]
fn a_bare_word_is_a_process_first_and_a_cgroup_next() {
    let fake = FakeKernel::full();
    assert_eq!(
        resolve(&fake, "build").unwrap().cgroup,
        Some(path("/build"))
    );
    assert_eq!(
        resolve(&fake, "build/web").unwrap().kind,
        TargetKind::Cgroup
    );
    let fake = fake.with_process(&FakeProcess::new(500, 1, "build", "/init.scope"));
    let error = resolve(&fake, "build").unwrap_err();
    assert!(error.hint().unwrap().contains("cgroup:build"));
    let error = resolve(&fake, "nothing").unwrap_err();
    assert!(
        matches!(error, ResolveTargetError::NoSuchThing { .. }),
        "{error:?}"
    );
}

#[test]
fn on_version_1_processes_and_memory_cgroups_are_still_found() {
    for fake in [
        FakeKernel::full().with_hybrid_cgroups(),
        FakeKernel::full().with_v1_cgroups(),
    ] {
        let process = resolve(&fake, "310").unwrap();
        assert_eq!(process.cgroup, Some(path("/job")));
        assert_eq!(process.owner, Some(Owner::Nobody));
        assert_eq!(process.bystanders, 1);
        assert_eq!(resolve(&fake, "builder").unwrap().process.unwrap().pid, 310);
        assert_eq!(pids(&resolve(&fake, "/job").unwrap()), [310, 311, 320]);
    }
}

#[test]
fn without_cgroups_processes_are_still_found() {
    let fake = FakeKernel::full()
        .without("cgroup")
        .with("proc/310/cgroup", "");
    let process = resolve(&fake, "310").unwrap();
    assert_eq!(process.cgroup, None);
    assert_eq!(process.owner, None);
    let error = resolve(&fake, "/build").unwrap_err();
    assert!(
        matches!(error, ResolveTargetError::NoCgroups { .. }),
        "{error:?}"
    );
    let error = resolve(&fake, "nginx.service").unwrap_err();
    assert!(
        matches!(error, ResolveTargetError::NoCgroups { .. }),
        "{error:?}"
    );
}

#[test]
fn however_many_targets_there_are_processes_and_cgroups_are_listed_once() {
    let fake = FakeKernel::full();
    let kernel = open(&fake);
    let mut resolver = Resolver::new(&kernel);
    let mut resolve = |typed: &str| resolver.resolve(&typed.parse().unwrap());
    assert_eq!(pids(&resolve("builder").unwrap()), [310]);
    assert_eq!(resolve("310").unwrap().bystanders, 2);
    resolve("nginx.service").unwrap();
    // What comes later is not looked for again.
    let fake = fake
        .with_process(&FakeProcess::new(400, 1, "late", "/build/web"))
        .with("cgroup/build/web/cgroup.procs", "320\n400\n")
        .with_cgroup(&FakeCgroup::new("late.service", 0, &[]));
    assert!(resolve("late").is_err());
    assert!(resolve("late.service").is_err());
    assert_eq!(
        pids(&resolve_target(&kernel, &"late".parse().unwrap()).unwrap()),
        [400]
    );
    assert!(resolve_target(&kernel, &"late.service".parse().unwrap()).is_ok());
    // What was read of a process is not read again.
    let fake = fake.without("proc/320/stat");
    assert_eq!(resolve("400").unwrap().bystanders, 1);
    drop(fake);
}
