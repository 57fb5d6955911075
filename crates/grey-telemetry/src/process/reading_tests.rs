//! Tests of `reading.rs`, on imitations of /proc and on the real one.
//!
//! Never part of the product.

use grey_model::{Bytes, KernelText, Pages};
use std::os::unix::fs::PermissionsExt;

use super::super::imitation::{Imitation, Waiting, as_nobody};
use super::*;
use crate::roots::Roots;

fn read(kernel: &Kernel, pid: u32) -> Result<ProcessReading, ReadError> {
    read_process(kernel, pid, Detail::Full, &mut Scratch::new(kernel))
}

fn whole() -> Imitation {
    let tree = Imitation::new();
    tree.stat(7, b") R (\n\xff", 'S', 0, 4711);
    tree.write(
        7,
        "status",
        "Uid:\t1000\t0\t0\t0\nVmLck:\t4 kB\nVmRSS:\t99 kB\nRssAnon:\t10 kB\n\
         RssFile:\t20 kB\nRssShmem:\t30 kB\nVmSwap:\t1 kB\n",
    );
    tree.rollup(7, 40, 10, 12);
    tree.write(7, "cgroup", "0::/system.slice/web.service\n");
    tree.write(7, "cmdline", "web\0--port\080\0");
    tree.write(7, "oom_score", "667\n");
    tree.write(7, "oom_score_adj", "-5\n");
    tree.write(7, "ksm_stat", "ksm_merging_pages 4\n");
    tree
}

#[test]
fn every_file_lands_in_its_field() {
    let tree = whole();
    let reading = read(&tree.kernel(), 7).unwrap();
    let memory = reading.memory;
    assert!(!reading.denied);
    assert_eq!(memory.id.pid, 7);
    assert_eq!(memory.id.start_time_ticks, 4711);
    assert_eq!(memory.name, KernelText::from(b") R (\n\xff"));
    assert_eq!(memory.user_id, Some(1000));
    assert_eq!(
        memory.rss,
        Some(Bytes::from_kib(60)),
        "the sum of the parts"
    );
    assert_eq!(memory.locked, Some(Bytes::from_kib(4)));
    assert_eq!(memory.pss, Some(Bytes::from_kib(40)));
    assert_eq!(memory.uss, Some(Bytes::from_kib(12)));
    assert_eq!(
        memory.swap,
        Some(Bytes::from_kib(3)),
        "shared memory included"
    );
    assert_eq!(memory.swap_pss, Some(Bytes::from_kib(2)));
    assert_eq!(memory.oom_score, Some(667));
    assert_eq!(memory.oom_score_adj, Some(-5));
    assert_eq!(memory.command_line, Some(KernelText::from("web --port 80")));
    assert_eq!(
        memory.cgroup.unwrap().as_bytes(),
        b"/system.slice/web.service"
    );
    assert_eq!(memory.ksm.unwrap().merging_pages, Some(Pages(4)));
}

#[test]
fn rss_is_of_the_same_instant_as_pss() {
    // `status` says 60 KiB, and the process has grown since.
    let tree = whole();
    tree.write(
        7,
        "smaps_rollup",
        "Rss: 96 kB\nPss: 80 kB\nPrivate_Clean: 0 kB\nPrivate_Dirty: 70 kB\n",
    );
    let kernel = tree.kernel();
    let full = read(&kernel, 7).unwrap().memory;
    assert_eq!(full.rss, Some(Bytes::from_kib(96)));
    assert_eq!(full.pss, Some(Bytes::from_kib(80)));
    assert_eq!(full.rss_anon, Some(Bytes::from_kib(10)), "of `status`");
    let basic = read_process(&kernel, 7, Detail::Basic, &mut Scratch::new(&kernel)).unwrap();
    assert_eq!(basic.memory.rss, Some(Bytes::from_kib(60)));
}

#[test]
fn basic_detail_leaves_the_page_tables_alone() {
    let tree = whole();
    let kernel = tree.kernel();
    let reading = read_process(&kernel, 7, Detail::Basic, &mut Scratch::new(&kernel)).unwrap();
    assert_eq!(reading.memory.pss, None);
    assert_eq!(reading.memory.ksm, None);
    assert_eq!(reading.memory.swap, Some(Bytes::from_kib(1)));
}

#[test]
fn each_file_may_be_missing_but_the_identity() {
    for file in [
        "status",
        "smaps_rollup",
        "cgroup",
        "cmdline",
        "oom_score",
        "oom_score_adj",
        "ksm_stat",
    ] {
        let tree = whole();
        std::fs::remove_file(tree.path().join("7").join(file)).unwrap();
        let reading = read(&tree.kernel(), 7).unwrap();
        assert!(!reading.denied, "{file}");
        assert_eq!(reading.memory.pss.is_none(), file == "smaps_rollup");
        assert_eq!(reading.memory.rss.is_none(), file == "status");
    }
    let tree = whole();
    std::fs::remove_file(tree.path().join("7/stat")).unwrap();
    assert!(read(&tree.kernel(), 7).unwrap_err().is_vanished());
    tree.write(7, "stat", "7 (x");
    let error = read(&tree.kernel(), 7).unwrap_err();
    assert!(matches!(error, ReadError::Malformed { .. }), "{error}");
}

#[test]
fn unreadable_memory_is_denied_and_never_zero() {
    let tree = whole();
    let closed = std::fs::Permissions::from_mode(0o000);
    let world = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(tree.path(), world).unwrap();
    std::fs::set_permissions(tree.path().join("7/smaps_rollup"), closed.clone()).unwrap();
    let kernel = tree.kernel();
    let reading = as_nobody(|| read(&kernel, 7)).unwrap();
    assert!(reading.denied);
    assert_eq!(reading.memory.pss, None);
    assert_eq!(reading.memory.uss, None);
    assert_eq!(reading.memory.rss, Some(Bytes::from_kib(60)));
    // As with hidepid, where the directory cannot be entered.
    std::fs::set_permissions(tree.path().join("7"), closed).unwrap();
    assert!(as_nobody(|| read(&kernel, 7)).unwrap_err().is_denied());
}

#[test]
fn the_kernel_denies_nobody_the_memory_of_pid_1() {
    let kernel = Kernel::open(&Roots::default()).unwrap();
    let reading = as_nobody(|| read(&kernel, 1)).unwrap();
    assert!(reading.denied);
    assert_eq!(reading.memory.pss, None);
}

#[test]
fn our_own_memory_adds_up() {
    let kernel = Kernel::open(&Roots::default()).unwrap();
    let memory = read(&kernel, std::process::id()).unwrap().memory;
    let (pss, uss) = (memory.pss.unwrap(), memory.uss.unwrap());
    assert!(uss <= pss && pss > Bytes::ZERO, "{memory:?}");
    assert!(pss <= memory.rss.unwrap(), "{memory:?}");
    assert!(memory.rss_anon.is_some() && memory.rss_file.is_some());
    assert!(memory.threads.unwrap() >= 1 && memory.oom_score.is_some());
}

#[test]
fn a_zombie_has_a_name_and_no_memory() {
    let kernel = Kernel::open(&Roots::default()).unwrap();
    let mut process = Waiting::start();
    process.make_zombie();
    let reading = read(&kernel, process.pid()).unwrap();
    assert_eq!(reading.memory.state, ProcessState::Zombie);
    assert_eq!(reading.memory.name, KernelText::from("cat"));
    assert_eq!((reading.memory.rss, reading.memory.pss), (None, None));
    assert!(!reading.denied);
    process.end();
    assert!(read(&kernel, process.pid()).unwrap_err().is_vanished());
}

#[test]
fn the_page_tables_of_a_zombie_are_not_asked_for() {
    let tree = whole();
    tree.stat(7, b"dead", 'Z', 0, 4711);
    assert_eq!(read(&tree.kernel(), 7).unwrap().memory.pss, None);
}

#[test]
fn a_kernel_thread_has_a_name_and_no_memory() {
    let tree = Imitation::new();
    tree.stat(2, b"kthreadd", 'S', 0x0020_8040, 9);
    tree.write(
        2,
        "status",
        "Name:\tkthreadd\nUid:\t0\t0\t0\t0\nThreads:\t1\n",
    );
    tree.write(2, "cmdline", "");
    let reading = read(&tree.kernel(), 2).unwrap();
    assert!(reading.memory.kernel_thread && !reading.denied);
    assert_eq!((reading.memory.rss, reading.memory.pss), (None, None));
    assert_eq!(reading.memory.command_line, Some(KernelText::default()));
}

#[test]
fn a_directory_kept_open_never_reads_the_next_process() {
    let kernel = Kernel::open(&Roots::default()).unwrap();
    let mut process = Waiting::start();
    let name = process.pid().to_string();
    let directory = kernel.proc.open_directory(Path::new(&name)).unwrap();
    let mut buffer = Vec::new();
    assert!(directory.read_raw(c"statm", &mut buffer).is_ok());
    process.end();
    for file in [c"stat", c"statm", c"status", c"smaps_rollup"] {
        let errno = directory.read_raw(file, &mut buffer).unwrap_err();
        assert!(is_gone(errno), "{file:?}: {errno}");
    }
}

#[test]
fn a_process_that_became_another_meanwhile_is_vanished() {
    // An imitation is not bound to its process.
    let tree = whole();
    let kernel = tree.kernel();
    let directory = kernel.proc.open_directory(Path::new("7")).unwrap();
    let mut files = ProcessFiles {
        kernel: &kernel,
        directory: &directory,
        buffer: &mut Vec::new(),
        doubtful: true,
        denied: false,
    };
    let (_, start, _) = files.read_identity().unwrap();
    assert!(files.state_of_the_same(start).is_ok());
    tree.stat(7, b"other", 'S', 0, start + 1);
    let error = files.state_of_the_same(start).unwrap_err();
    assert!(error.is_vanished(), "{error}");
}
