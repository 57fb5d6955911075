//! The limits with made-up system calls and machines. What really sets a limit
//! is in `tests/document_003.rs`, in processes of its own.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use grey_model::{Bytes, MemoryLimit};
use grey_telemetry::Roots;
use proptest::prelude::*;

use super::cgroup::scope_words;
use super::rlimit::parse_used;
use super::*;

#[path = "../../tests/captured_log/mod.rs"]
mod captured_log;
use captured_log::captured;

const GIB: u64 = 1 << 30;

fn gib(count: u64) -> Bytes {
    Bytes(count * GIB)
}

fn machine(gigabytes: u64) -> Machine {
    Machine::new(Some(gib(gigabytes))).with_architecture("x86_64")
}

/// What a kernel would do, without doing it.
#[derive(Debug, Clone)]
struct FakeCalls(Arc<Mutex<FakeState>>);

#[derive(Debug)]
struct FakeState {
    ranges: [Range; 2],
    used: [Option<Bytes>; 2],
    refuses: [Option<i32>; 2],
    sets: u32,
}

impl FakeCalls {
    fn new() -> Self {
        let range = Range {
            soft: None,
            hard: None,
        };
        Self(Arc::new(Mutex::new(FakeState {
            ranges: [range; 2],
            used: [Some(Bytes::from_mib(100)); 2],
            refuses: [None; 2],
            sets: 0,
        })))
    }

    fn change(self, change: impl FnOnce(&mut FakeState)) -> Self {
        change(&mut self.0.lock().unwrap());
        self
    }

    fn limits(&self, machine: Machine) -> ProcessLimits {
        ProcessLimits::new(Box::new(self.clone()), machine)
    }

    fn soft(&self, kind: LimitKind) -> Option<Bytes> {
        self.get(kind).soft
    }
}

fn place(kind: LimitKind) -> usize {
    usize::from(kind == LimitKind::Data)
}

impl LimitCalls for FakeCalls {
    fn get(&self, kind: LimitKind) -> Range {
        self.0.lock().unwrap().ranges[place(kind)]
    }

    fn set(&self, kind: LimitKind, range: Range) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.sets += 1;
        if let Some(errno) = state.refuses[place(kind)] {
            return Err(io::Error::from_raw_os_error(errno));
        }
        state.ranges[place(kind)] = range;
        Ok(())
    }

    fn used(&self, kind: LimitKind) -> Result<Bytes, UsageError> {
        self.0.lock().unwrap().used[place(kind)].ok_or(UsageError {
            kind,
            source: io::ErrorKind::PermissionDenied.into(),
        })
    }
}

const EINVAL: i32 = 22;

#[test]
fn nothing_and_what_is_no_number_is_refused() {
    for count in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY, 1e-12] {
        assert!(
            matches!(gigabytes(count), Err(LimitError::NotPositive { .. })),
            "{count}"
        );
    }
    for count in [f64::INFINITY, 1e300, 17_179_869_184.0] {
        assert!(
            matches!(gigabytes(count), Err(LimitError::TooLarge { .. })),
            "{count}"
        );
    }
    assert_eq!(
        gigabytes(-1.0).unwrap_err().to_string(),
        "Requested limit -1.00 GB is not positive"
    );
    assert_eq!(gigabytes(2.0).unwrap(), Bytes(2_147_483_648));
    assert!(matches!(
        validate_memory_limit_on(&machine(8), Bytes::ZERO),
        Err(LimitError::NotPositive { .. })
    ));
}

#[test]
fn a_limit_up_to_ninety_percent_is_no_warning_and_above_is_one() {
    let machine = Machine::new(Some(Bytes(1000)));
    assert_eq!(
        validate_memory_limit_on(&machine, Bytes(900)).unwrap(),
        None
    );
    let (result, log) = captured(|| validate_memory_limit_on(&machine, Bytes(901)));
    assert!(matches!(
        result.unwrap(),
        Some(LimitWarning::NearlyAll { .. })
    ));
    assert_eq!(
        log,
        ["WARNING: Requested limit 0.00 GB is 90.1% of total system memory 0.00 GB"]
    );
    assert!(validate_memory_limit_on(&machine, Bytes(1000)).is_ok());
    assert!(validate_memory_limit_on(&machine, Bytes(1001)).is_err());
}

#[test]
fn several_limits_up_to_ninety_five_percent_are_no_warning_and_above_are_one() {
    let machine = Machine::new(Some(gib(100)));
    let together = |limits: &[Bytes]| validate_total_allocations_on(&machine, limits);
    assert_eq!(together(&[gib(50), gib(45)]).unwrap(), None);
    let warning = together(&[gib(50), gib(46)]).unwrap().unwrap();
    assert_eq!(
        warning.to_string(),
        "Total memory allocation 96.00 GB is 96.0% of total system memory 100.00 GB. \
         Individual limits: 50.00 GB + 46.00 GB"
    );
    assert!(together(&[gib(50), gib(51)]).is_err());
    assert_eq!(together(&[]).unwrap(), None);
}

#[test]
fn limits_whose_sum_overflows_are_too_much() {
    let error = validate_total_allocations_on(&machine(8), &[Bytes(u64::MAX), Bytes(2)]);
    assert!(matches!(error, Err(LimitError::TotalExceeds { .. })));
}

#[test]
fn one_empty_limit_among_several_is_named() {
    let error = validate_total_allocations_on(&machine(8), &[gib(1), Bytes::ZERO]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Limit 2 of 2 is not positive. Individual limits: 1.00 GB + 0.00 GB"
    );
}

#[test]
fn a_name_stands_before_its_limit() {
    let error = validate_total_allocations_on(&machine(2), &[("god", gib(9))]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Total memory allocation 9.00 GB exceeds total system memory 2.00 GB. \
         Individual limits: god 9.00 GB"
    );
}

#[test]
fn the_control_group_bounds_below_the_machine() {
    let contained = machine(64).with_cgroup_limit(MemoryLimit::Bytes(gib(4)));
    assert_eq!(contained.bound(), Some(gib(4)));
    let error = validate_memory_limit_on(&contained, gib(5)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Requested limit 5.00 GB exceeds the control group's effective limit of 4.00 GB"
    );
    assert!(validate_total_allocations_on(&contained, &[gib(3), gib(2)]).is_err());
    let beyond = validate_memory_limit_on(&contained, gib(65)).unwrap_err();
    assert!(matches!(
        beyond,
        LimitError::Exceeds {
            bounded: Bounded::System,
            ..
        }
    ));
    let unlimited = machine(64).with_cgroup_limit(MemoryLimit::Max);
    assert!(validate_memory_limit_on(&unlimited, gib(5)).is_ok());
}

#[test]
fn an_unknown_machine_is_a_warning_and_never_a_size_of_zero() {
    let unknown = Machine::new(None);
    assert_eq!(unknown.bound(), None);
    assert_eq!(
        validate_memory_limit_on(&unknown, gib(1000)).unwrap(),
        Some(LimitWarning::UnknownMachine)
    );
    let contained = unknown.with_cgroup_limit(MemoryLimit::Bytes(gib(1)));
    assert!(validate_memory_limit_on(&contained, gib(2)).is_err());
}

#[test]
fn support_is_found_out_once() {
    let calls = FakeCalls::new();
    let limits = calls.limits(machine(8));
    let ((), log) = captured(|| {
        for _ in 0..5 {
            assert_eq!(limits.supported(), Some(LimitKind::AddressSpace));
        }
    });
    assert_eq!(calls.0.lock().unwrap().sets, 1);
    assert!(log.is_empty(), "{log:?}");
}

#[test]
fn without_rlimit_as_the_data_limit_is_set() {
    let calls = FakeCalls::new().change(|state| state.refuses[0] = Some(EINVAL));
    let limits = calls.limits(machine(8).with_architecture("aarch64"));
    let (result, log) = captured(|| limits.set(gib(2), true));
    assert!(result.unwrap());
    assert_eq!(calls.soft(LimitKind::Data), Some(gib(2)));
    assert_eq!(calls.soft(LimitKind::AddressSpace), None);
    assert_eq!(
        log,
        [
            "WARNING: RLIMIT_AS not supported or failed: Invalid argument",
            "INFO: Falling back to RLIMIT_DATA (data segment) on aarch64 architecture",
            "INFO: Memory limit set to 2.00 GB (2147483648 bytes) using RLIMIT_DATA \
             (data segment). Hard limit: unlimited",
        ]
    );
}

#[test]
fn a_limit_is_never_set_at_or_below_what_counts_already() {
    let calls = FakeCalls::new().change(|state| state.used[0] = Some(gib(2)));
    let error = calls.limits(machine(8)).set(gib(2), true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Requested limit 2.00 GB is not above what RLIMIT_AS counts already: 2.00 GB"
    );
    assert_eq!(calls.soft(LimitKind::AddressSpace), None);
}

#[test]
fn the_hard_limit_is_shown_and_never_passed_nor_changed() {
    let hard = Some(gib(4));
    let calls = FakeCalls::new().change(|state| state.ranges[0].hard = hard);
    let limits = calls.limits(machine(8));
    let error = limits.set(gib(5), true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Requested limit 5.00 GB exceeds the hard limit of RLIMIT_AS: 4.00 GB"
    );
    let applied = limits.try_set(gib(2)).unwrap();
    assert_eq!(applied.now.hard, hard);
    let raised = limits.adjust(MemoryLimit::Max).unwrap();
    assert_eq!((raised.now.soft, raised.now.hard), (hard, hard));
    assert!(limits.adjust(MemoryLimit::Bytes(gib(5))).is_err());
}

#[test]
fn a_limit_moves_up_freely_and_down_to_what_is_used() {
    let calls = FakeCalls::new().change(|state| state.used[0] = Some(gib(3)));
    let limits = calls.limits(machine(16));
    limits.set(gib(4), true).unwrap();
    limits.adjust(MemoryLimit::Bytes(gib(6))).unwrap();
    let error = limits.adjust(MemoryLimit::Bytes(gib(3))).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("counts already: 3.00 GB"), "{source}");
    assert_eq!(calls.soft(LimitKind::AddressSpace), Some(gib(6)));
    limits
        .adjust(MemoryLimit::Bytes(Bytes(3 * GIB + 1)))
        .unwrap();
    assert!(limits.adjust(MemoryLimit::Bytes(gib(17))).is_err());
    assert!(limits.adjust(MemoryLimit::Bytes(Bytes::ZERO)).is_err());
}

#[test]
fn a_limit_is_not_lowered_blindly_but_raised() {
    let calls = FakeCalls::new().change(|state| {
        state.used = [None; 2];
        state.ranges[0].soft = Some(gib(4));
    });
    let limits = calls.limits(machine(16));
    assert!(matches!(
        limits.adjust(MemoryLimit::Bytes(gib(3))),
        Err(AdjustLimitError::Usage { .. })
    ));
    assert!(limits.adjust(MemoryLimit::Bytes(gib(5))).is_ok());
}

#[test]
fn a_refusal_of_the_kernel_carries_its_reason() {
    let calls = FakeCalls::new();
    let limits = calls.limits(machine(8));
    assert_eq!(limits.supported(), Some(LimitKind::AddressSpace));
    calls.0.lock().unwrap().refuses[0] = Some(1);
    let (error, log) = captured(|| limits.set(gib(1), true).unwrap_err());
    assert_eq!(
        error.to_string(),
        "Failed to set RLIMIT_AS to 1.00 GB on x86_64 architecture (Linux)"
    );
    assert_eq!(log.len(), 1);
    assert!(log[0].starts_with("ERROR: Failed to set RLIMIT_AS"));
    assert!(log[0].contains("Operation not permitted"), "{log:?}");
}

#[test]
fn usage_is_read_from_the_line_of_the_limit() {
    let text = b"Name:\tx\nVmPeak:\t  9 kB\nVmSize:\t  8 kB\nVmData:\t  3 kB\n";
    assert_eq!(
        parse_used(text, LimitKind::AddressSpace),
        Some(Bytes::from_kib(8))
    );
    assert_eq!(parse_used(text, LimitKind::Data), Some(Bytes::from_kib(3)));
    for broken in [&b""[..], b"VmSize:\n", b"VmSize:\t-1 kB\n", b"VmSize: x kB"] {
        assert_eq!(parse_used(broken, LimitKind::AddressSpace), None);
    }
    assert!(LinuxCalls.used(LimitKind::Data).unwrap() > Bytes::ZERO);
}

fn roots(root: &Path, files: &[(&str, &str)]) -> Roots {
    for (name, text) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    Roots {
        procfs: root.join("proc"),
        sysfs: root.join("sys"),
        cgroupfs: root.join("cgroup"),
        systemd: root.join("systemd"),
    }
}

const V2: &[(&str, &str)] = &[
    ("proc/meminfo", "MemTotal: 8388608 kB\n"),
    ("proc/self/cgroup", "0::/pod/app\n"),
    ("cgroup/cgroup.controllers", "memory\n"),
    ("cgroup/pod/memory.max", "1073741824\n"),
    ("cgroup/pod/memory.high", "max\n"),
    ("cgroup/pod/cgroup.procs", ""),
    ("cgroup/pod/app/cgroup.procs", ""),
    ("cgroup/pod/app/memory.max", "4294967296\n"),
    ("cgroup/pod/app/memory.high", "max\n"),
];

#[test]
fn the_limit_of_a_parent_group_is_not_missed() {
    let root = tempfile::tempdir().unwrap();
    let machine = Machine::read_at(&roots(root.path(), V2));
    assert_eq!(machine.total(), Some(gib(8)));
    assert_eq!(machine.cgroup_limit(), Some(MemoryLimit::Bytes(gib(1))));
}

#[test]
fn a_high_watermark_bounds_as_a_limit_does() {
    let root = tempfile::tempdir().unwrap();
    let roots = roots(root.path(), V2);
    std::fs::write(root.path().join("cgroup/pod/app/memory.high"), "4096\n").unwrap();
    let machine = Machine::read_at(&roots);
    assert_eq!(machine.bound(), Some(Bytes(4096)));
}

#[test]
fn version_one_groups_tell_their_limit_over_all_ancestors() {
    for (own, stat, limit) in [
        ("/job", "cgroup/memory/job/memory.stat", "1073741824"),
        ("/docker/0123", "cgroup/memory/memory.stat", "1073741824"),
        (
            "/job",
            "cgroup/memory/job/memory.stat",
            "9223372036854771712",
        ),
    ] {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::read_at(&roots(
            root.path(),
            &[
                ("proc/meminfo", "MemTotal: 8388608 kB\n"),
                ("proc/self/cgroup", &format!("4:memory:{own}\n0::/x\n")),
                ("cgroup/memory/cgroup.procs", ""),
                (
                    stat,
                    &format!("cache 0\nhierarchical_memory_limit {limit}\n"),
                ),
            ],
        ));
        let expected = match limit {
            "1073741824" => MemoryLimit::Bytes(gib(1)),
            _ => MemoryLimit::Max,
        };
        assert_eq!(machine.cgroup_limit(), Some(expected), "{own} {limit}");
    }
}

#[test]
fn a_machine_without_its_files_is_unknown() {
    let root = tempfile::tempdir().unwrap();
    let machine = Machine::read_at(&roots(root.path(), &[]));
    assert_eq!((machine.total(), machine.cgroup_limit()), (None, None));
    let machine = Machine::read_at(&roots(root.path(), &[("proc/meminfo", "MemFree: 1 kB\n")]));
    assert_eq!(machine.total(), None);
}

#[test]
fn a_group_of_its_own_is_recommended_where_it_can_be_had() {
    let root = tempfile::tempdir().unwrap();
    let roots = roots(root.path(), V2);
    let recommended = || recommend_on(&roots, &machine(8), Some(LimitKind::AddressSpace), gib(2));
    assert_eq!(
        recommended().mode,
        LimitMode::Rlimit(LimitKind::AddressSpace),
        "nobody makes the group"
    );
    std::fs::create_dir(root.path().join("systemd")).unwrap();
    let with_systemd = recommended();
    assert_eq!(with_systemd.mode, LimitMode::Cgroup);
    let command = with_systemd.command.unwrap();
    assert!(command.ends_with("--scope --collect -p MemoryMax=2147483648 PROGRAM"));
    std::fs::remove_dir_all(root.path().join("cgroup")).unwrap();
    let without = recommend_on(&roots, &machine(8), None, gib(2));
    assert_eq!(without.mode, LimitMode::None);
    assert!(without.reason.contains("no control groups are mounted"));
}

#[test]
fn a_scope_is_the_users_own_unless_root_asks() {
    assert_eq!(
        scope_words(gib(2), true),
        [
            "systemd-run",
            "--scope",
            "--collect",
            "-p",
            "MemoryMax=2147483648"
        ]
    );
    assert_eq!(scope_words(gib(2), false)[1], "--user");
    let command = scope_command("program", gib(2));
    let arguments: Vec<_> = command.get_args().collect();
    assert_eq!(arguments[arguments.len() - 2..], ["--", "program"]);
}

#[test]
fn a_limited_command_takes_no_limit_below_a_kib() {
    assert!(limited_command("true", Bytes(1023), LimitKind::Data).is_err());
    assert!(limited_command("true", Bytes(1024), LimitKind::Data).is_ok());
}

proptest! {
    #[test]
    fn a_limit_that_is_accepted_fits_and_one_that_is_refused_does_not(
        limit in 1_u64..1 << 40, total in 1_u64..1 << 40, cgroup in 1_u64..1 << 40
    ) {
        let machine = Machine::new(Some(Bytes(total)))
            .with_cgroup_limit(MemoryLimit::Bytes(Bytes(cgroup)));
        let accepted = validate_memory_limit_on(&machine, Bytes(limit)).is_ok();
        prop_assert_eq!(accepted, limit <= total.min(cgroup));
    }

    #[test]
    fn gigabytes_never_panic_and_never_grow(count: f64) {
        if let Ok(bytes) = gigabytes(count) {
            #[expect(clippy::cast_precision_loss, reason = "compared as floats")]
            let back = bytes.get() as f64 / 1_073_741_824.0;
            prop_assert!(back <= count);
        }
    }
}
