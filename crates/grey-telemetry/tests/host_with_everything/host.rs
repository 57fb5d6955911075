//! What the machine is.

use grey_fake_kernel::FakeKernel;
use grey_model::{CgroupMode, HostFacts};
use grey_telemetry::read_host;

use crate::open;

fn read(fake: &FakeKernel) -> HostFacts {
    read_host(&open(fake), &mut Vec::new())
}

fn mode(fake: &FakeKernel) -> CgroupMode {
    read(fake).cgroup_mode
}

#[test]
fn the_whole_host_is_recognised() {
    let host = read(&FakeKernel::full());
    assert_eq!(host.kernel.as_deref(), Some("6.18.0-fake"));
    assert_eq!(
        host.boot_id.unwrap().0,
        "11111111-2222-3333-4444-555555555555"
    );
    assert_eq!(host.cgroup_mode, CgroupMode::V2);
    assert_eq!(host.page_size_bytes, 4096);
    assert!(host.systemd);
    assert!(!host.container);
}

#[test]
fn each_way_of_mounting_cgroups_has_its_mode() {
    let bare = FakeKernel::full().with("cgroup/cgroup.controllers", "cpu pids\n");
    assert_eq!(mode(&bare), CgroupMode::V2WithoutMemory);
    assert_eq!(
        mode(&FakeKernel::full().with_hybrid_cgroups()),
        CgroupMode::Hybrid
    );
    assert_eq!(mode(&FakeKernel::full().with_v1_cgroups()), CgroupMode::V1);
    assert_eq!(
        mode(&FakeKernel::full().without("cgroup")),
        CgroupMode::None
    );
    let empty = FakeKernel::full()
        .without("cgroup")
        .with("cgroup/other/file", "");
    assert_eq!(mode(&empty), CgroupMode::None);
}

#[test]
fn a_missing_boot_id_is_unknown_and_fails_nothing() {
    let fake = FakeKernel::full().without("proc/sys/kernel/random/boot_id");
    assert_eq!(read(&fake).boot_id, None);
}

#[test]
fn systemd_is_told_by_its_runtime_directory() {
    assert!(!read(&FakeKernel::full().without("run/systemd/system")).systemd);
}

#[test]
fn a_container_is_told_by_its_first_process_or_a_mark() {
    let told = FakeKernel::full().with("proc/1/environ", "TERM=x\0container=lxc\0");
    assert!(read(&told).container);
    for mark in [".dockerenv", "run/.containerenv", "run/systemd/container"] {
        assert!(read(&FakeKernel::full().with(mark, "")).container, "{mark}");
    }
}

#[test]
fn a_mark_is_not_believed_in_the_namespaces_of_boot() {
    let fake = FakeKernel::full().with(".dockerenv", "");
    for (name, number) in [
        ("ipc", 4_026_531_839u64),
        ("uts", 4_026_531_838),
        ("user", 4_026_531_837),
        ("pid", 4_026_531_836),
        ("cgroup", 4_026_531_835),
    ] {
        fake.link(format!("proc/self/ns/{name}"), format!("{name}:[{number}]"));
    }
    assert!(!read(&fake).container);
    fake.remove("proc/self/ns/pid");
    fake.link("proc/self/ns/pid", "pid:[4026532211]");
    assert!(read(&fake).container);
}

#[test]
fn a_first_process_that_may_not_be_looked_at_fails_nothing() {
    assert!(!read(&FakeKernel::full().with_unreadable("proc/1/environ")).container);
}
