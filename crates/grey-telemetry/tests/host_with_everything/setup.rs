//! What `doctor` looks at.

use grey_fake_kernel::{FakeKernel, FakeProcess};
use grey_model::{Bytes, Capability, Reading, SetupFacts};
use grey_telemetry::setup::read_setup;

use crate::open;

fn setup(fake: &FakeKernel) -> SetupFacts {
    read_setup(&open(fake))
}

fn is_unknown<T>(reading: &Reading<T>) -> bool {
    matches!(reading, Reading::Unknown(_))
}

#[test]
fn a_host_with_everything_leaves_nothing_unknown() {
    let setup = setup(&FakeKernel::full());
    assert_eq!(setup.vm.swappiness, Reading::Known(60));
    assert_eq!(setup.vm.oom_kill_allocating_task, Reading::Known(0));
    assert_eq!(setup.huge_pages.enabled.known().unwrap(), "madvise");
    assert_eq!(setup.huge_pages.max_ptes_none, Reading::Known(511));
    assert_eq!(setup.mglru, Reading::Known(7));
    assert_eq!(setup.damon, Reading::Known(()));
    assert_eq!(setup.swap.known().unwrap().len(), 2);
    assert_eq!(setup.zram_backing, []);
    assert!(setup.pressure.known().unwrap().is_some());
    assert!(setup.capabilities.known().unwrap().has(Capability::SysNice));
    let files = setup.limits.known().unwrap().open_files.unwrap();
    assert_eq!((files.soft, files.hard), (Some(1024), Some(524_288)));
    assert_eq!(setup.daemons, Reading::Known(Vec::new()));
}

#[test]
fn pressure_that_is_off_is_kept_apart_from_pressure_that_is_not_there() {
    let absent = setup(&FakeKernel::full().without("proc/pressure"));
    assert_eq!(absent.pressure, Reading::Absent);
    let off = setup(&FakeKernel::full().with("proc/pressure/memory", ""));
    assert_eq!(off.pressure, Reading::Known(None));
    let garbled = setup(&FakeKernel::full().with("proc/pressure/memory", "some x\n"));
    assert!(is_unknown(&garbled.pressure));
    let asked = setup(&FakeKernel::full().with("proc/cmdline", "ro psi=0\n"));
    assert_eq!(asked.psi_parameter, Some(false));
}

#[test]
fn a_line_of_swap_that_is_not_understood_is_not_left_out() {
    let heading = "Filename Type Size Used Priority\n";
    let swap = |text: &str| setup(&FakeKernel::full().with("proc/swaps", text)).swap;
    assert_eq!(swap(heading), Reading::Known(Vec::new()));
    assert!(is_unknown(&swap(&format!(
        "{heading}/dev/zram0 partition x 0 1\n"
    ))));
    assert!(is_unknown(&swap("")));
    let none = setup(&FakeKernel::full().without("proc/swaps")).swap;
    assert_eq!(none, Reading::Absent);
}

#[test]
fn without_sysfs_what_is_in_it_is_unknown() {
    let setup = setup(&FakeKernel::full().without("sys"));
    assert!(is_unknown(&setup.ksm));
    assert!(is_unknown(&setup.zram));
    assert!(is_unknown(&setup.zswap));
    assert!(is_unknown(&setup.mglru));
    assert!(is_unknown(&setup.damon));
    assert!(is_unknown(&setup.huge_pages.enabled));
}

#[test]
fn the_strictest_limit_above_us_is_found_on_both_versions() {
    let limited = FakeKernel::full()
        .with("cgroup/user.slice/memory.max", "700\n")
        .with("cgroup/user.slice/user-1000.slice/memory.max", "500\n");
    let found = setup(&limited).own_limit;
    let limit = found.known().unwrap();
    assert_eq!(limit.limit, Bytes(500));
    assert_eq!(limit.cgroup, "/user.slice/user-1000.slice");
    let first = FakeKernel::full()
        .with_v1_cgroups()
        .with("proc/self/cgroup", "4:memory:/job\n")
        .with("cgroup/memory/job/memory.limit_in_bytes", "300\n");
    assert_eq!(setup(&first).own_limit.known().unwrap().limit, Bytes(300));
    // The path of the machine is not mounted in a container: its root is ours.
    let inside = FakeKernel::full()
        .with("proc/self/cgroup", "0::/machine/deep/down\n")
        .with("cgroup/memory.max", "200\n");
    assert_eq!(setup(&inside).own_limit.known().unwrap().limit, Bytes(200));
}

#[test]
fn programs_are_known_by_name_and_their_unit_by_cgroup() {
    let earlyoom = FakeProcess::new(400, 1, "earlyoom", "/system.slice/earlyoom.service");
    let redis = FakeProcess::new(401, 1, "redis-server", "/");
    let again = FakeProcess::new(402, 1, "redis-server", "/");
    // Of a user's systemd the system's knows nothing.
    let user = "/user.slice/user-1000.slice/user@1000.service/app.slice/earlyoom.service";
    let theirs = FakeProcess::new(403, 1, "earlyoom", user);
    let fake = FakeKernel::full()
        .with_process(&earlyoom)
        .with_process(&redis)
        .with_process(&again)
        .with_process(&theirs);
    let setup = setup(&fake);
    let daemons = setup.daemons.known().unwrap();
    let found: Vec<_> = daemons
        .iter()
        .map(|daemon| (daemon.name, daemon.pid, daemon.unit.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            ("earlyoom", 400, Some("earlyoom.service")),
            ("earlyoom", 403, None)
        ]
    );
    assert_eq!(setup.sparse_servers, ["redis-server"]);
}

#[test]
fn a_device_behind_zram_is_named() {
    let fake = FakeKernel::full().with("sys/block/zram0/backing_dev", "/dev/sda3\n");
    let expected = ("zram0".to_owned(), "/dev/sda3".to_owned());
    assert_eq!(setup(&fake).zram_backing, [expected]);
}
