//! Facts about the levels of the machine and the cgroup.

use super::*;

const GIB: u64 = 1 << 30;

fn machine_at(percent: u64) -> Reading {
    let total = Bytes(100 * GIB);
    Reading {
        machine_total: Some(total),
        machine_available: Some(total.saturating_sub(Bytes(percent * GIB))),
        ..Reading::default()
    }
}

fn judged(reading: &Reading) -> SystemStatus {
    SystemStatus::of(reading, &Thresholds::of::<SystemLevel>())
}

#[test]
fn the_levels_begin_at_40_60_and_80_percent() {
    for (percent, level, severity, action) in [
        (
            39,
            SystemLevel::Normal,
            Severity::Debug,
            "Continue normal operation",
        ),
        (
            40,
            SystemLevel::Moderate,
            Severity::Warning,
            "Log warning, continue operation",
        ),
        (
            60,
            SystemLevel::High,
            Severity::Warning,
            "Log warning, trigger monitoring alerts",
        ),
        (
            80,
            SystemLevel::Critical,
            Severity::Error,
            "Log error, recommend graceful shutdown",
        ),
    ] {
        let status = judged(&machine_at(percent));
        assert_eq!(status.level, level, "{percent}");
        assert_eq!(status.level.severity(), severity);
        assert_eq!(status.action(), action);
    }
}

#[test]
fn the_fuller_of_machine_and_cgroup_counts() {
    let mut reading = machine_at(10);
    reading.cgroup_usage = Some(Bytes(7 * GIB));
    reading.cgroup_limit = Some(MemoryLimit::Bytes(Bytes(10 * GIB)));
    let status = judged(&reading);
    assert_eq!(status.scope, Some(Scope::Cgroup));
    assert_eq!(status.level, SystemLevel::High);
    assert_eq!(
        status.to_string(),
        "system memory HIGH: 70.0 % of the cgroup is used (7.0 GiB of 10.0 GiB): \
         Log warning, trigger monitoring alerts"
    );
}

#[test]
fn file_cache_that_goes_first_does_not_make_a_cgroup_full() {
    let mut reading = machine_at(10);
    reading.cgroup_usage = Some(Bytes(9 * GIB));
    reading.cgroup_reclaimable = Some(Bytes(8 * GIB));
    reading.cgroup_limit = Some(MemoryLimit::Bytes(Bytes(10 * GIB)));
    assert_eq!(judged(&reading).level, SystemLevel::Normal);
}

#[test]
fn a_cgroup_without_a_limit_is_never_full() {
    let mut reading = machine_at(10);
    reading.cgroup_usage = Some(Bytes(9 * GIB));
    reading.cgroup_limit = Some(MemoryLimit::Max);
    assert_eq!(judged(&reading).scope, Some(Scope::Machine));
}

#[test]
fn what_is_unknown_is_said_to_be_unknown() {
    let status = judged(&Reading::default());
    assert_eq!(
        (status.level, status.percent()),
        (SystemLevel::Normal, None)
    );
    assert_eq!(status.to_string(), "system memory: unknown");
}

#[test]
fn a_watch_tells_each_change_once_and_keeps_its_level_without_knowledge() {
    let mut watch = SystemLevelWatch::new(Thresholds::of::<SystemLevel>(), Duration::ZERO);
    let at = Duration::from_secs;
    assert_eq!(watch.observe(at(0), &Reading::default()), None);
    assert_eq!(watch.current(), SystemLevel::Normal);
    let seen = watch.observe(at(0), &machine_at(85)).unwrap();
    assert_eq!(seen.to, SystemLevel::Critical);
    assert_eq!(watch.observe(at(1), &machine_at(86)), None);
    assert_eq!(watch.observe(at(2), &Reading::default()), None);
    assert_eq!(watch.current(), SystemLevel::Critical);
    assert_eq!(watch.observe(at(3), &machine_at(78)), None);
    let fell = watch.observe(at(4), &machine_at(76)).unwrap();
    assert_eq!(fell.to, SystemLevel::High);
}
