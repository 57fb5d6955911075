//! Facts about memory pressure that is told from outside.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use grey_model::{Bytes, SystemLevel};
use rustix::fs::{CWD, Mode, mkfifoat};

use super::operations::lock;
use super::*;
use crate::testkit::FakeSource;
use crate::wait_until::wait_until;

/// A manager far below its budget that looks at the machine once an hour, and
/// what its cleaning was asked for.
fn manager(path: &Path, trigger: &[u8]) -> (MemoryManager, Arc<AtomicU64>, CallbackRegistration) {
    let manager = MemoryManager::builder(MemoryLimits::of(Bytes::from_mib(1000)))
        .source(Arc::new(FakeSource::new(Bytes::from_mib(100))))
        .pressure_watch(path, trigger)
        .build()
        .unwrap();
    let wanted = Arc::new(AtomicU64::new(0));
    let asked = Arc::clone(&wanted);
    let cleanup = manager.register_cleanup_callback(move |amount| {
        asked.fetch_add(amount.get(), Ordering::SeqCst);
        amount
    });
    manager.start_monitoring(Duration::from_secs(3600)).unwrap();
    (manager, wanted, cleanup)
}

fn fifo() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pressure");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    (directory, path)
}

#[test]
fn a_fifo_that_tells_of_pressure_makes_it_high_and_gives_a_twentieth_back() {
    let (_directory, path) = fifo();
    let (manager, wanted, _cleanup) = manager(&path, b"");
    let mut teller = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    assert_eq!(manager.degradation().level(), SystemLevel::Normal);
    teller.write_all(b"x").unwrap();
    wait_until(|| manager.degradation().level() == SystemLevel::High);
    wait_until(|| wanted.load(Ordering::SeqCst) == Bytes::from_mib(50).get());
    assert!(!manager.degradation().may_run_background_work());
    manager.stop_monitoring();
}

#[test]
fn a_socket_tells_of_pressure_and_may_go_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (manager, wanted, _cleanup) = manager(&path, b"some 1 2");
    let (mut teller, _) = listener.accept().unwrap();
    let mut trigger = [0; 8];
    teller.read_exact(&mut trigger).unwrap();
    assert_eq!(&trigger, b"some 1 2");
    teller.write_all(b"x").unwrap();
    wait_until(|| wanted.load(Ordering::SeqCst) > 0);
    drop(teller);
    assert_eq!(manager.degradation().level(), SystemLevel::High);
    assert!(manager.is_monitoring());
    manager.stop_monitoring();
}

#[test]
fn many_that_tell_at_once_begin_relief_once_a_second() {
    let (_directory, path) = fifo();
    let (manager, _wanted, _cleanup) = manager(&path, b"");
    manager.stop_monitoring();
    let start = Instant::now();
    for milliseconds in [0, 10, 999, 1000, 1500, 2000] {
        manager.memory_is_short(start + Duration::from_millis(milliseconds));
    }
    assert_eq!(manager.controller().queued_actions(), 3);
}

#[test]
fn pressure_is_over_ten_seconds_after_it_was_told_last() {
    let (_directory, path) = fifo();
    let (manager, _wanted, _cleanup) = manager(&path, b"");
    manager.stop_monitoring();
    let start = Instant::now();
    let second = Duration::from_secs(1);
    manager.memory_is_short(start);
    manager.memory_is_short(start + 5 * second);
    let left = manager.inner.mind_pressure(start + 14 * second);
    assert_eq!(left, Some(second));
    assert_eq!(manager.degradation().level(), SystemLevel::High);
    assert_eq!(manager.inner.mind_pressure(start + 15 * second), None);
    assert_eq!(manager.degradation().level(), SystemLevel::Normal);
    // What the machine itself says is not lowered by it.
    manager.inner.machine_is(SystemLevel::Critical);
    manager.memory_is_short(start + 20 * second);
    assert_eq!(manager.degradation().level(), SystemLevel::Critical);
    manager.inner.machine_is(SystemLevel::Moderate);
    assert_eq!(manager.degradation().level(), SystemLevel::High);
    assert_eq!(manager.inner.mind_pressure(start + 30 * second), None);
    assert_eq!(manager.degradation().level(), SystemLevel::Moderate);
}

#[test]
fn who_cannot_be_listened_to_does_not_keep_it_from_watching() {
    let (manager, _wanted, _cleanup) = manager(Path::new("/nonexistent"), b"");
    assert!(manager.is_monitoring());
    assert!(
        lock(&manager.inner.running)
            .as_ref()
            .unwrap()
            .pressure
            .is_none()
    );
}
