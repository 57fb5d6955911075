//! A source that was made before a fork reads the process that asks, not the
//! one that made it; a budget keeps no child waiting.

#![expect(
    unsafe_code,
    reason = "the standard library has no fork, and a spawned program would not inherit the source"
)]

#[path = "../src/scripted_loader.rs"]
mod scripted_loader;
#[path = "../src/wait_until.rs"]
mod wait_until;

use std::hint::black_box;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use grey_budget::{
    Budget, Bytes, Component, Controller, ControllerSettings, LoadBackEnd, LoadBackRation,
    LoadBackReport, MemoryLimits, MemoryManager, MemorySource, Priority, ProcessSource,
    ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer, reclaimer,
};
use scripted_loader::ScriptedLoader;
use wait_until::wait_until;

const LARGE: usize = 192 << 20;

/// What the child says through its exit code.
const CHILD_READ_ITSELF: i32 = 42;
const CHILD_READ_ITS_PARENT: i32 = 43;
const CHILD_FAILED: i32 = 44;
/// It does not say so: a signal ended it.
const CHILD_WAS_KILLED: i32 = -1;

#[test]
fn a_child_may_drop_what_runs_in_its_parent() {
    let budget = Budget::new(Bytes::from_mib(1024)).unwrap();
    let source = Arc::new(ProcessSource::new().unwrap());
    let controller = Controller::new(budget, source, ControllerSettings::default());
    let running = controller.start().unwrap();
    let manager = MemoryManager::new(MemoryLimits::of(Bytes::from_mib(1024))).unwrap();
    manager
        .start_monitoring(std::time::Duration::from_secs(1))
        .unwrap();
    // SAFETY: as above; what is dropped joins no thread, which is what is tried.
    // WHY: see above.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "the fork failed");
    if child == 0 {
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            drop(running);
            drop(manager);
        }));
        let code = if dropped.is_ok() {
            CHILD_READ_ITSELF
        } else {
            CHILD_FAILED
        };
        // SAFETY: ends the child alone. WHY: see below.
        unsafe { libc::_exit(code) };
    }
    assert_eq!(ending_of(child), CHILD_READ_ITSELF);
    running.stop();
    manager.stop_monitoring();
}

/// Takes and gives until told to stop, always under the budget's lock.
fn keep_busy(component: &Component, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        drop(component.reserve(Bytes::from_mib(1)));
    }
}

#[test]
fn a_child_of_a_busy_parent_waits_for_nobody() {
    let budget = Budget::new(Bytes::from_mib(1024)).unwrap();
    let component = budget.component("busy").register().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| keep_busy(&component, &is_over));
        }
        for _ in 0..40 {
            let held = component.reserve(Bytes::from_mib(1)).unwrap();
            // SAFETY: the child takes no lock of the test program; whether the
            // budget's hang is what is tried, and SIGALRM ends one that hangs.
            // WHY: see above.
            let child = unsafe { libc::fork() };
            assert!(child >= 0, "the fork failed");
            if child == 0 {
                // SAFETY: takes a number. WHY: the standard library has no alarm.
                unsafe { libc::alarm(60) };
                drop(held);
                for _ in 0..10 {
                    drop(component.reserve(Bytes::from_mib(1)));
                    drop(component.reserve_timeout(Bytes::from_mib(1), Duration::ZERO));
                    drop(component.overdraw(Bytes(1)));
                }
                let _ = (budget.reserved(), budget.limit(), component.reserved());
                let refused = component.reserve(Bytes::from_mib(2048)).is_err();
                let code = if refused {
                    CHILD_READ_ITSELF
                } else {
                    CHILD_FAILED
                };
                // SAFETY: ends the child alone. WHY: see below.
                unsafe { libc::_exit(code) };
            }
            let code = ending_of(child);
            if code != CHILD_READ_ITSELF {
                is_over.store(true, Ordering::Relaxed);
            }
            assert_eq!(code, CHILD_READ_ITSELF);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn a_child_does_not_wait_for_what_its_parent_loads_back() {
    let budget = Budget::new(Bytes::from_mib(4096)).unwrap();
    let source = Arc::new(ProcessSource::new().unwrap());
    let mut settings = ControllerSettings::default();
    settings.call_deadline = Duration::from_secs(600);
    let controller = Controller::new(budget, source, settings);
    // Loads until it is over in this process, and not at all in another.
    let (process, began) = (std::process::id(), Arc::new(AtomicBool::new(false)));
    let begins = Arc::clone(&began);
    let endless = ScriptedLoader::new(Bytes::ZERO, move |_, ration| {
        begins.store(true, Ordering::SeqCst);
        while std::process::id() == process && !ration.is_over() {
            std::thread::yield_now();
        }
        LoadBackReport::default()
    });
    let _registration = controller.register(endless);
    let loading = controller.clone();
    let thread = std::thread::spawn(move || loading.load_back_now());
    wait_until(|| began.load(Ordering::SeqCst));
    assert_eq!(controller.load_back_now().end, LoadBackEnd::Busy);
    // SAFETY: as above; whether the child hangs is what is tried, and SIGALRM ends
    // one that does. WHY: see above.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "the fork failed");
    if child == 0 {
        // SAFETY: takes a number. WHY: the standard library has no alarm.
        unsafe { libc::alarm(60) };
        let code = match controller.load_back_now().end {
            LoadBackEnd::Busy => CHILD_FAILED,
            _ => CHILD_READ_ITSELF,
        };
        drop(controller);
        // SAFETY: ends the child alone. WHY: see below.
        unsafe { libc::_exit(code) };
    }
    assert_eq!(ending_of(child), CHILD_READ_ITSELF);
    // Whoever stops a controller ends what it loads back.
    controller.start().unwrap().stop();
    assert_eq!(thread.join().unwrap().end, LoadBackEnd::Stopped);
}

/// The exit code of a child of ours.
fn ending_of(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is valid for a write, and the child is ours.
    // WHY: `std::process::Child` cannot be made of a pid.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    if !libc::WIFEXITED(status) {
        return CHILD_WAS_KILLED;
    }
    libc::WEXITSTATUS(status)
}

#[test]
fn a_child_reads_itself_and_not_its_parent() {
    let source = ProcessSource::new().unwrap();
    let before = source.rss().unwrap();
    // SAFETY: the child calls nothing that takes a lock which another thread
    // may have held: it maps memory, reads a file, and ends with `_exit`.
    // WHY: see above.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "the fork failed");
    if child == 0 {
        // Larger than glibc's largest threshold, so it is mapped, not taken
        // from an arena.
        let held = black_box(vec![1_u8; LARGE]);
        let code = match source.rss() {
            Err(_) => CHILD_FAILED,
            Ok(rss) if rss.saturating_sub(before) > Bytes(LARGE as u64).scale(1, 2) => {
                CHILD_READ_ITSELF
            }
            Ok(_) => CHILD_READ_ITS_PARENT,
        };
        drop(black_box(held));
        // SAFETY: ends the child without running the test program's exit code.
        // WHY: `process::exit` would run handlers that belong to the parent.
        unsafe { libc::_exit(code) };
    }
    assert_eq!(ending_of(child), CHILD_READ_ITSELF);
    // The parent still reads itself.
    let after = source.rss().unwrap();
    assert!(after.get().abs_diff(before.get()) < 64 << 20);
}
