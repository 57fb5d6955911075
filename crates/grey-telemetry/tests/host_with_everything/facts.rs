//! What preflight looks at.

use grey_fake_kernel::{FakeCgroup, FakeKernel};
use grey_model::{Bytes, CgroupMode, PreflightFacts, TargetProcesses};
use grey_telemetry::{gather_facts, resolve_target};

use crate::{open, path};

fn gather(fake: &FakeKernel, typed: &str) -> PreflightFacts {
    let kernel = open(fake);
    let target = resolve_target(&kernel, &typed.parse().unwrap()).unwrap();
    gather_facts(&kernel, Some(target)).unwrap()
}

#[test]
fn the_facts_of_a_cgroup_are_complete() {
    let facts = gather(&FakeKernel::full(), "/build/web");
    assert_eq!(facts.host.cgroup_mode, CgroupMode::V2);
    assert_eq!(facts.cgroup.unwrap().current, Some(Bytes::from_mib(100)));
    let above: Vec<_> = facts
        .ancestors
        .iter()
        .map(|group| group.path.clone())
        .collect();
    assert_eq!(above, [path("/build")]);
    let summary = TargetProcesses {
        count: 4,
        uninterruptible: 1,
        unkillable: 1,
        kernel_threads: 0,
    };
    assert_eq!(facts.process_summary, summary);
    assert_eq!(facts.swap_devices.len(), 2);
    assert_eq!(facts.zram.len(), 1);
    assert_eq!(facts.per_cpu_free_lists, Some(Bytes::from_mib(2)));
    assert_eq!(facts.ksm.unwrap().run, Some(1));
    assert_eq!(facts.rlimit_data, None);
    assert_eq!(facts.root_has_memory_controller, Some(true));
    assert_eq!(facts.our_subtree, None);
    assert!(facts.features.memory_reclaim);
    assert!(facts.features.ksm);
    assert!(facts.features.sysfs_writable && facts.features.cgroupfs_writable);
    assert!(facts.processes.iter().all(|process| process.pss.is_some()));
}

#[test]
fn ancestors_begin_with_the_parent_and_leave_out_the_root() {
    let facts = gather(&FakeKernel::full(), "app-editor.scope");
    let above: Vec<_> = facts
        .ancestors
        .iter()
        .map(|group| group.path.clone())
        .collect();
    let user = "/user.slice/user-1000.slice";
    assert_eq!(
        above,
        [
            path(&format!("{user}/user@1000.service/app.slice")),
            path(&format!("{user}/user@1000.service")),
            path(user),
            path("/user.slice"),
        ]
    );
}

#[test]
fn protection_is_at_most_what_is_used() {
    let fake = FakeKernel::full();
    // memory.low of web is `max`, and web uses 100 MiB.
    assert_eq!(
        gather(&fake, "/build").protected,
        Some(Bytes::from_mib(100))
    );
    fake.write("cgroup/system.slice/nginx.service/memory.min", "52428800\n");
    assert_eq!(
        gather(&fake, "/system.slice").protected,
        Some(Bytes::from_mib(50))
    );
    fake.write("cgroup/system.slice/nginx.service/memory.current", "4096\n");
    assert_eq!(gather(&fake, "/system.slice").protected, Some(Bytes(4096)));
    assert_eq!(gather(&fake, "/init.scope").protected, Some(Bytes(0)));
}

#[test]
fn a_group_is_not_protected_from_reclaim_on_itself() {
    // memory.low of nginx is 16 MiB.
    let fake = FakeKernel::full();
    assert_eq!(gather(&fake, "nginx.service").protected, Some(Bytes(0)));
}

#[test]
fn the_protection_of_all_groups_right_below_counts() {
    let fake = FakeKernel::full();
    let before = gather(&fake, "/system.slice").protected.unwrap();
    let other = FakeCgroup::new("system.slice/other.service", 20_000, &[]).low("10000");
    let fake = fake.with_cgroup(&other);
    let after = gather(&fake, "/system.slice").protected.unwrap();
    assert_eq!(after, before.saturating_add(Bytes(10000)));
}

#[test]
fn a_process_has_its_data_limit_and_its_data() {
    let facts = gather(&FakeKernel::full(), "310");
    assert_eq!(facts.rlimit_data.as_deref(), Some("1073741824:unlimited"));
    assert_eq!(facts.vm_data, Some(Bytes::from_mib(16)));
    let facts = gather(&FakeKernel::full().without("proc/310/limits"), "310");
    assert_eq!(facts.rlimit_data, None);
}

#[test]
fn our_subtree_is_absent_or_tells_whether_it_gives_the_controller() {
    let ours = FakeCgroup::new("grey-optimizer", 0, &[]);
    let fake = FakeKernel::full().with_cgroup(&ours);
    assert_eq!(gather(&fake, "310").our_subtree, Some(true));
    fake.write("cgroup/grey-optimizer/cgroup.subtree_control", "cpu\n");
    assert_eq!(gather(&fake, "310").our_subtree, Some(false));
    fake.write("cgroup/cgroup.subtree_control", "cpu\n");
    assert_eq!(gather(&fake, "310").root_has_memory_controller, Some(false));
}

#[test]
fn memory_reclaim_is_probed_and_not_derived() {
    let fake = FakeKernel::full().without("cgroup/memory.reclaim");
    assert!(
        gather(&fake, "310").features.memory_reclaim,
        "the children have it"
    );
    for child in ["build", "init.scope", "system.slice", "user.slice"] {
        fake.remove(format!("cgroup/{child}/memory.reclaim"));
    }
    assert!(!gather(&fake, "310").features.memory_reclaim);
}

#[test]
fn privileges_are_those_of_this_process() {
    let fake = FakeKernel::full();
    let facts = gather(&fake, "310");
    assert!(facts.privileges.root && facts.privileges.sys_nice);
    fake.write(
        "proc/self/status",
        "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0\n",
    );
    assert_eq!(gather(&fake, "310").privileges, Default::default());
    fake.remove("proc/self/status");
    assert_eq!(gather(&fake, "310").privileges, Default::default());
}

#[test]
fn on_version_1_everything_that_needs_no_version_2_is_there() {
    let facts = gather(&FakeKernel::full().with_hybrid_cgroups(), "310");
    assert_eq!(facts.host.cgroup_mode, CgroupMode::Hybrid);
    assert_eq!(facts.cgroup, None);
    assert_eq!(facts.ancestors, []);
    assert_eq!(facts.protected, None);
    assert_eq!(facts.root_has_memory_controller, None);
    assert!(!facts.features.memory_reclaim);
    assert!(facts.features.ksm);
    assert_eq!(facts.processes.len(), 1);
}

#[test]
fn a_reused_pid_is_another_process() {
    let fake = FakeKernel::full();
    let kernel = open(&fake);
    let mut target = resolve_target(&kernel, &"310".parse().unwrap()).unwrap();
    target.processes[0].start_time_ticks += 1;
    let facts = gather_facts(&kernel, Some(target)).unwrap();
    assert_eq!(facts.processes, []);
}

#[test]
fn without_a_target_the_machine_is_described() {
    let facts = gather_facts(&open(&FakeKernel::full()), None).unwrap();
    assert_eq!(facts.target, None);
    assert_eq!(facts.cgroup, None);
    assert_eq!(facts.processes, []);
    assert_eq!(facts.meminfo.mem_total, Some(Bytes::from_mib(1000)));
}

#[test]
fn of_a_threaded_cgroup_the_domain_above_is_known() {
    let facts = |kinds: &[(&str, &str)]| {
        let host = kinds
            .iter()
            .fold(FakeKernel::full(), |host, (group, kind)| {
                host.with(format!("cgroup/{group}/cgroup.type"), format!("{kind}\n"))
            });
        gather(&host, "/build/web").threaded_domain
    };
    assert_eq!(facts(&[]), None);
    assert_eq!(facts(&[("build/web", "domain")]), None);
    assert_eq!(facts(&[("build/web", "domain threaded")]), None);
    let one = facts(&[("build", "domain threaded"), ("build/web", "threaded")]);
    assert_eq!(one.unwrap().to_string(), "/build");
    let both = facts(&[("build", "threaded"), ("build/web", "threaded")]);
    assert!(both.unwrap().is_root());
}
