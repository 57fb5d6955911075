//! Readers against the machine that the tests run on, compared with what
//! other programs say of it.
//!
//! Changes nothing. A program that is not installed is not compared with.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::process::Command;

use grey_model::{Bytes, CgroupMode};
use grey_telemetry::cgroup::{TreeBounds, read_tree};
use grey_telemetry::{
    Kernel, Roots, available_now, gather_facts, read_host, read_system, resolve_target,
};

fn kernel() -> Kernel {
    Kernel::open(&Roots::default()).unwrap()
}

/// How far two readings taken one after the other may be apart.
const DRIFT: u64 = 64 << 20;

fn assert_near(ours: Bytes, theirs: Bytes, what: &str) {
    let apart = ours.signed_difference(theirs).unsigned_abs();
    assert!(apart <= DRIFT, "{what}: {ours} and {theirs}");
}

/// What a program prints, or nothing where it is not installed.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_breakdown_sums_to_the_total_and_leaves_under_one_percent() {
    let snapshot = read_system(&kernel(), &mut Vec::new()).unwrap();
    let total = i64::try_from(snapshot.totals.total.get()).unwrap();
    assert_eq!(snapshot.breakdown.sum(), total);
    let residual = snapshot.breakdown.0.last().unwrap();
    assert!(
        residual.bytes.abs() < total / 100,
        "{:#?}",
        snapshot.breakdown
    );
}

#[test]
fn totals_agree_with_free() {
    let Some(free) = output("free", &["--bytes"]) else {
        return;
    };
    let row: Vec<u64> = free
        .lines()
        .find(|line| line.starts_with("Mem:"))
        .unwrap()
        .split_whitespace()
        .skip(1)
        .map(|number| number.parse().unwrap())
        .collect();
    let totals = read_system(&kernel(), &mut Vec::new()).unwrap().totals;
    assert_eq!(totals.total, Bytes(row[0]));
    assert_near(totals.free, Bytes(row[2]), "free");
    assert_near(totals.available.unwrap(), Bytes(row[5]), "available");
}

#[test]
fn swap_devices_agree_with_swapon() {
    let arguments = ["--show=NAME,SIZE", "--bytes", "--noheadings", "--raw"];
    let Some(swapon) = output("swapon", &arguments) else {
        return;
    };
    let ours: Vec<String> = read_system(&kernel(), &mut Vec::new())
        .unwrap()
        .swap_devices
        .iter()
        .map(|device| format!("{} {}", device.path, device.total.get()))
        .collect();
    let theirs: Vec<&str> = swapon.lines().collect();
    assert_eq!(ours, theirs);
}

#[test]
fn the_kernel_is_the_one_that_uname_names() {
    let host = read_host(&kernel(), &mut Vec::new());
    let uname = rustix::system::uname();
    assert_eq!(host.kernel.as_deref(), uname.release().to_str().ok());
    assert!(host.boot_id.is_some());
}

#[test]
fn every_field_of_this_kernels_meminfo_is_known() {
    let meminfo = read_system(&kernel(), &mut Vec::new()).unwrap().meminfo;
    assert_eq!(meminfo.unknown, []);
}

#[test]
fn available_now_is_at_least_what_the_kernel_calls_available() {
    let mut buffer = Vec::new();
    let kernel = kernel();
    let available = available_now(&kernel, &mut buffer).unwrap().unwrap();
    let meminfo = read_system(&kernel, &mut buffer).unwrap().meminfo;
    let with_lists = available.saturating_add(Bytes(DRIFT));
    assert!(with_lists >= meminfo.mem_available.unwrap());
}

/// Stacks of tasks are mapped by vmalloc, as the breakdown assumes: many more
/// threads show in `KernelStack` and in `VmallocUsed` alike. Other programs
/// start and end meanwhile, so several attempts are made.
#[test]
fn kernel_stacks_are_part_of_vmalloc_here() {
    let grown: Vec<(i64, i64)> = (0..5).map(|_| growth_by_threads(400)).collect();
    let is_mapped = |&(stacks, others): &(i64, i64)| stacks > 0 && -others < stacks / 2;
    assert!(grown.iter().any(is_mapped), "{grown:?}");
}

/// How much the stacks grow when `threads` are started, and how much the rest
/// of vmalloc does: it would shrink by as much if stacks were not part of it.
fn growth_by_threads(threads: usize) -> (i64, i64) {
    let kernel = kernel();
    let read = || {
        let meminfo = read_system(&kernel, &mut Vec::new()).unwrap().meminfo;
        let stacks = meminfo.kernel_stack.unwrap();
        (
            stacks,
            meminfo.vmalloc_used.unwrap().signed_difference(stacks),
        )
    };
    let started = std::sync::Barrier::new(threads + 1);
    let may_end = std::sync::Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let (stacks, others) = read();
        for _ in 0..threads {
            scope.spawn(|| {
                started.wait();
                may_end.wait();
            });
        }
        started.wait();
        let (more_stacks, more_others) = read();
        may_end.wait();
        (more_stacks.signed_difference(stacks), more_others - others)
    })
}

#[test]
fn our_own_process_is_found_with_its_start() {
    let own = std::process::id();
    let kernel = kernel();
    let target = resolve_target(&kernel, &own.to_string().parse().unwrap()).unwrap();
    assert_eq!(target.processes.len(), 1);
    let facts = gather_facts(&kernel, Some(target)).unwrap();
    assert_eq!(facts.processes.len(), 1);
    assert!(facts.processes[0].rss.unwrap() > Bytes::ZERO);
    assert!(facts.vm_data.unwrap() > Bytes::ZERO);
    assert!(facts.rlimit_data.is_some());
}

#[test]
fn the_tree_has_accounts_exactly_where_version_2_has_memory() {
    let kernel = kernel();
    let mut buffer = Vec::new();
    let mode = read_host(&kernel, &mut buffer).cgroup_mode;
    let root = grey_model::CgroupPath::root();
    let tree = read_tree(&kernel, &root, TreeBounds::default(), &mut buffer);
    assert_eq!(tree.missing.is_none(), mode == CgroupMode::V2);
    assert_eq!(tree.groups.is_empty(), mode != CgroupMode::V2);
}
