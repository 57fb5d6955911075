//! Every code example and every log line of the document on memory limits,
//! with its numbers and messages. What really sets a limit runs in a process
//! of its own: this test program again, with one of its ignored tests.

use std::path::Path;
use std::process::{Command, Stdio};

use grey_budget::limits::{Gigabytes, LimitCalls};
use grey_budget::limits::{
    LimitError, LimitKind, LimitWarning, LinuxCalls, Machine, ProcessLimits, Range, UsageError,
    gigabytes, limit_child, limited_command, validate_memory_limit_on,
    validate_total_allocations_on,
};
use grey_budget::{
    Bytes, MemoryLimit, adjust_memory_limit, get_system_memory, set_memory_limit,
    validate_memory_limit, validate_total_allocations,
};

mod captured_log;
use captured_log::captured;

/// Set for a process that may limit itself.
const ROLE: &str = "GREY_TEST_LIMITED_CHILD";

fn gb(count: f64) -> Bytes {
    gigabytes(count).expect("the document's numbers are positive")
}

fn machine(gigabytes: f64) -> Machine {
    Machine::new(Some(gb(gigabytes))).with_architecture("x86_64")
}

/// Runs the ignored test `name` of this program in a process of its own.
fn run_alone(name: &str) {
    let output = child(Command::new(this_program()), name)
        .output()
        .expect("this program can be started again");
    assert!(
        output.status.success(),
        "{name}: {}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{name} did not run: {text}");
}

fn this_program() -> std::path::PathBuf {
    std::env::current_exe().expect("a test knows its program")
}

fn child(mut command: Command, name: &str) -> Command {
    command
        .args([
            "--exact",
            name,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROLE, "1")
        .stdin(Stdio::null());
    command
}

fn is_alone() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// Whether `bytes` can be had of the allocator. Too much for its arenas, so
/// the kernel is asked.
fn can_allocate(bytes: Bytes) -> bool {
    let mut block: Vec<u8> = Vec::new();
    let length = usize::try_from(bytes.get()).expect("fits");
    block.try_reserve_exact(length).is_ok()
}

fn used(kind: LimitKind) -> Bytes {
    LinuxCalls.used(kind).expect("our own status can be read")
}

const MIB: u64 = 1 << 20;

// "Basic Usage (Backwards Compatible)"

#[test]
fn a_limit_is_set_strictly() {
    run_alone("set_half_of_the_machine_at_most");
}

#[test]
#[ignore = "limits the process that it runs in: started by a_limit_is_set_strictly"]
fn set_half_of_the_machine_at_most() {
    assert!(is_alone());
    let limit = gb(1.0).min(get_system_memory().expect("this machine tells").scale(1, 2));
    assert!(set_memory_limit(limit, true).unwrap());
    let soft = LinuxCalls.get(LimitKind::AddressSpace).soft;
    assert_eq!(soft, Some(limit));
    assert!(!can_allocate(limit));
}

// "Validation Before Setting"

#[test]
fn a_limit_is_validated_before_it_is_set() {
    assert!(validate_memory_limit_on(&machine(13.0), gb(2.0)).is_ok());
    match validate_memory_limit(gb(1e6)) {
        Ok(_) => panic!("nobody has a petabyte"),
        Err(error) => assert!(
            error
                .to_string()
                .starts_with("Requested limit 1000000.00 GB")
        ),
    }
}

// "Matrix Mode Validation"

#[test]
fn three_instances_do_not_fit_on_thirteen_gigabytes() {
    let (subject, observer, god) = (gb(2.0), gb(6.0), gb(9.0));
    let error = validate_total_allocations_on(&machine(13.0), &[subject, observer, god])
        .expect_err("17 GB are more than 13 GB");
    assert_eq!(
        format!("Cannot start matrix mode: {error}"),
        "Cannot start matrix mode: Total memory allocation 17.00 GB exceeds total system memory \
         13.00 GB. Individual limits: 2.00 GB + 6.00 GB + 9.00 GB"
    );
}

#[test]
fn three_instances_do_not_fit_on_eight_gigabytes() {
    let limits = [
        ("subject", gb(2.0)),
        ("observer", gb(6.0)),
        ("god", gb(9.0)),
    ];
    let error = validate_total_allocations_on(&machine(8.0), &limits).expect_err("17 of 8");
    assert_eq!(
        error.to_string(),
        "Total memory allocation 17.00 GB exceeds total system memory 8.00 GB. \
         Individual limits: subject 2.00 GB + observer 6.00 GB + god 9.00 GB"
    );
}

#[test]
fn three_instances_fit_on_a_larger_machine() {
    let limits = [gb(2.0), gb(6.0), gb(9.0)];
    assert_eq!(
        validate_total_allocations_on(&machine(32.0), &limits).unwrap(),
        None
    );
    assert!(matches!(
        validate_total_allocations_on(&machine(17.5), &limits).unwrap(),
        Some(LimitWarning::NearlyAllTogether { .. })
    ));
}

// "Non-Strict Mode (Continue on Failure)"

#[test]
fn a_lenient_failure_is_told_and_survived() {
    let limits = ProcessLimits::new(Box::new(LinuxCalls), machine(13.0));
    let (result, log) = captured(|| limits.set(gb(20.0), false));
    assert!(!result.unwrap());
    assert_eq!(log.len(), 1);
    assert!(matches!(
        limits.set(gb(20.0), true),
        Err(LimitError::Exceeds { .. })
    ));
}

// "System Memory Check"

#[test]
fn the_system_memory_is_the_machines() {
    let total = get_system_memory().expect("this machine tells");
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("MemTotal:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(total, Bytes::from_kib(kib));

    let total = machine(13.0).total().unwrap();
    assert_eq!(
        format!("System has {} RAM", Gigabytes(total)),
        "System has 13.00 GB RAM"
    );
    let recommended = total.scale(8, 10);
    assert_eq!(
        format!("Recommended max limit: {}", Gigabytes(recommended)),
        "Recommended max limit: 10.40 GB"
    );
}

// "Migration Guide"

#[test]
fn three_times_five_gigabytes_are_too_much() {
    let error = validate_total_allocations_on(&machine(13.0), &[gb(5.0), gb(5.0), gb(5.0)])
        .expect_err("15 of 13");
    assert_eq!(
        format!("Total allocation too high: {error}"),
        "Total allocation too high: Total memory allocation 15.00 GB exceeds total system memory \
         13.00 GB. Individual limits: 5.00 GB + 5.00 GB + 5.00 GB"
    );
    assert!(validate_total_allocations(&[gb(0.001)]).is_ok());
}

#[test]
fn a_hundred_gigabytes_on_four_are_refused() {
    let error = validate_memory_limit_on(&machine(4.0), gb(100.0)).expect_err("100 of 4");
    assert_eq!(
        format!("Invalid RAM limit: {error}"),
        "Invalid RAM limit: Requested limit 100.00 GB exceeds total system memory 4.00 GB"
    );
}

// "Logging Output Examples"

/// System calls that succeed or fail as told, and change nothing.
#[derive(Debug)]
struct Calls {
    address_space: Option<i32>,
    data: Option<i32>,
}

impl LimitCalls for Calls {
    fn get(&self, _: LimitKind) -> Range {
        Range {
            soft: None,
            hard: None,
        }
    }

    fn set(&self, kind: LimitKind, _: Range) -> std::io::Result<()> {
        let refused = match kind {
            LimitKind::AddressSpace => self.address_space,
            LimitKind::Data => self.data,
        };
        refused.map_or(Ok(()), |errno| {
            Err(std::io::Error::from_raw_os_error(errno))
        })
    }

    fn used(&self, _: LimitKind) -> Result<Bytes, UsageError> {
        Ok(Bytes(1))
    }
}

const EINVAL: i32 = 22;
const WORKS: Calls = Calls {
    address_space: None,
    data: None,
};

fn log_of_setting(calls: Calls, machine: Machine, limit: f64) -> Vec<String> {
    let limits = ProcessLimits::new(Box::new(calls), machine);
    captured(|| limits.set(gb(limit), false)).1
}

#[test]
fn success_is_logged_as_documented() {
    assert_eq!(
        log_of_setting(WORKS, machine(13.0), 2.0),
        [
            "INFO: Memory limit set to 2.00 GB (2147483648 bytes) using RLIMIT_AS (virtual \
             memory). Hard limit: unlimited"
        ]
    );
}

#[test]
fn arm64_is_warned_of_as_documented() {
    let arm = machine(13.0).with_architecture("aarch64");
    assert_eq!(
        log_of_setting(WORKS, arm, 2.0)[0],
        "INFO: RLIMIT_AS appears to work on aarch64 architecture, but may not enforce correctly \
         on ARM64. Monitoring recommended."
    );
}

#[test]
fn the_fallback_is_logged_as_documented() {
    let calls = Calls {
        address_space: Some(EINVAL),
        data: None,
    };
    let arm = machine(13.0).with_architecture("aarch64");
    assert_eq!(
        log_of_setting(calls, arm, 2.0)[..2],
        [
            "WARNING: RLIMIT_AS not supported or failed: Invalid argument",
            "INFO: Falling back to RLIMIT_DATA (data segment) on aarch64 architecture",
        ]
    );
}

#[test]
fn a_failed_validation_is_logged_as_documented() {
    assert_eq!(
        log_of_setting(WORKS, machine(13.0), 20.0),
        [
            "ERROR: Memory limit validation failed: Requested limit 20.00 GB exceeds total \
             system memory 13.00 GB"
        ]
    );
}

#[test]
fn a_platform_without_limits_is_logged_as_documented() {
    let calls = Calls {
        address_space: Some(EINVAL),
        data: Some(EINVAL),
    };
    let log = log_of_setting(calls, machine(13.0).with_operating_system("Darwin"), 2.0);
    assert_eq!(
        log.last().unwrap(),
        "ERROR: Platform does not support memory limits (tested RLIMIT_AS and RLIMIT_DATA). \
         Architecture: x86_64, OS: Darwin"
    );
}

// What the limits are for: an allocation beyond fails, one below works.

#[test]
fn an_allocation_beyond_rlimit_as_fails_and_one_below_works() {
    run_alone("limited_by_address_space");
}

#[test]
#[ignore = "limits the process that it runs in"]
fn limited_by_address_space() {
    assert!(is_alone());
    let room = Bytes(256 * MIB);
    set_memory_limit(used(LimitKind::AddressSpace).saturating_add(room), true).unwrap();
    assert!(can_allocate(Bytes(128 * MIB)));
    assert!(!can_allocate(Bytes(512 * MIB)));
}

/// As where a filter forbids `RLIMIT_AS`.
#[derive(Debug)]
struct OnlyData;

impl LimitCalls for OnlyData {
    fn get(&self, kind: LimitKind) -> Range {
        LinuxCalls.get(kind)
    }

    fn set(&self, kind: LimitKind, range: Range) -> std::io::Result<()> {
        match kind {
            LimitKind::AddressSpace => Err(std::io::Error::from_raw_os_error(EINVAL)),
            LimitKind::Data => LinuxCalls.set(kind, range),
        }
    }

    fn used(&self, kind: LimitKind) -> Result<Bytes, UsageError> {
        LinuxCalls.used(kind)
    }
}

#[test]
fn an_allocation_beyond_rlimit_data_fails_and_one_below_works() {
    run_alone("limited_by_data");
}

#[test]
#[ignore = "limits the process that it runs in"]
fn limited_by_data() {
    assert!(is_alone());
    let limits = ProcessLimits::new(Box::new(OnlyData), Machine::read());
    let limit = used(LimitKind::Data).saturating_add(Bytes(256 * MIB));
    assert!(limits.set(limit, true).unwrap());
    assert_eq!(LinuxCalls.get(LimitKind::Data).soft, Some(limit));
    assert_eq!(LinuxCalls.get(LimitKind::AddressSpace).soft, None);
    assert!(can_allocate(Bytes(128 * MIB)));
    assert!(!can_allocate(Bytes(512 * MIB)));
}

// "Dynamic limit adjustment based on actual usage"

#[test]
fn a_limit_moves_while_the_program_runs() {
    run_alone("limit_moves");
}

#[test]
#[ignore = "limits the process that it runs in"]
fn limit_moves() {
    assert!(is_alone());
    let before = used(LimitKind::AddressSpace);
    let with_room = |mib: u64| MemoryLimit::Bytes(before.saturating_add(Bytes(mib * MIB)));
    set_memory_limit(before.saturating_add(Bytes(128 * MIB)), true).unwrap();
    assert!(!can_allocate(Bytes(256 * MIB)));
    adjust_memory_limit(with_room(512)).unwrap();
    assert!(can_allocate(Bytes(256 * MIB)));
    adjust_memory_limit(with_room(128)).unwrap();
    assert!(!can_allocate(Bytes(256 * MIB)));
    assert!(adjust_memory_limit(MemoryLimit::Bytes(Bytes(MIB))).is_err());
    adjust_memory_limit(MemoryLimit::Max).unwrap();
    assert!(can_allocate(Bytes(256 * MIB)));
}

// The same for a program that we start.

#[test]
#[ignore = "asks for more than the limit that it is started with"]
fn asks_for_a_gibibyte() {
    assert!(is_alone());
    assert!(can_allocate(Bytes(64 * MIB)));
    assert!(!can_allocate(Bytes(1024 * MIB)));
    let limited = [LimitKind::AddressSpace, LimitKind::Data]
        .map(|kind| LinuxCalls.get(kind).hard)
        .into_iter()
        .flatten()
        .next();
    assert_eq!(limited, Some(Bytes(768 * MIB)), "the hard limit is set too");
}

#[test]
fn a_child_is_limited_before_it_begins() {
    for kind in [LimitKind::AddressSpace, LimitKind::Data] {
        let command = limited_command(this_program(), Bytes(768 * MIB), kind).unwrap();
        let output = child(command, "asks_for_a_gibibyte").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{kind}: {text}");
        assert!(text.contains("1 passed"), "{kind}: {text}");
    }
}

#[test]
fn the_arguments_of_a_limited_command_arrive_as_they_are() {
    let awkward = ["a b", "$HOME", "\"; exit 3; \"", "", "-v"];
    let output = limited_command("/usr/bin/printf", Bytes(768 * MIB), LimitKind::Data)
        .unwrap()
        .arg("%s|")
        .args(awkward)
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "a b|$HOME|\"; exit 3; \"||-v|"
    );
}

#[test]
fn a_program_that_does_not_exist_ends_with_127() {
    let status = limited_command("/no/such/program", Bytes(768 * MIB), LimitKind::Data)
        .unwrap()
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(127));
}

/// Runs a command that may not raise its hard limits, whoever we are.
fn output_without_privileges(mut command: Command) -> std::process::Output {
    use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // Refused to those who could not raise them anyway.
            let _ = remove_capability_from_bounding_set(CapabilitySet::SYS_RESOURCE);
            command.output().expect("the shell exists")
        });
        thread.join().expect("the thread does not panic")
    })
}

#[test]
fn a_program_whose_limit_cannot_be_set_does_not_run() {
    let kind = LimitKind::Data;
    let mut inner = limited_command("/bin/echo", Bytes(768 * MIB), kind).unwrap();
    inner.arg("it ran");
    let mut outer = limited_command(inner.get_program(), Bytes(256 * MIB), kind).unwrap();
    outer.args(inner.get_args());
    let output = output_without_privileges(outer);
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert!(!output.stderr.is_empty(), "the shell says why");
}

#[test]
fn a_running_child_is_limited_from_outside() {
    let mut running = Command::new("/bin/cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    limit_child(&running, Bytes(768 * MIB), LimitKind::AddressSpace).unwrap();
    let limits = Path::new("/proc")
        .join(running.id().to_string())
        .join("limits");
    let text = std::fs::read_to_string(limits).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("Max address space"))
        .unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3..5], ["805306368", "805306368"]);
    drop(running.stdin.take());
    assert!(running.wait().unwrap().success());
    assert!(limit_child(&running, Bytes(768 * MIB), LimitKind::AddressSpace).is_err());
}
