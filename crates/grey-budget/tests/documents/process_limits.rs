//! Memory limit enforcement: validation, several instances, what is refused,
//! warned of and recommended. `tests/document_003.rs` sets limits for real and
//! holds every log line.
//!
//! Never limits this process.

use grey_budget::limits::{
    Gigabytes, LimitError, LimitWarning, LinuxCalls, Machine, ProcessLimits, gigabytes,
    validate_memory_limit_on, validate_total_allocations_on,
};
use grey_budget::testkit::FakeSource;
use grey_budget::{Bytes, MemoryLimits, MemoryManager, get_system_memory};

use crate::captured_log::captured;

fn gb(count: f64) -> Bytes {
    gigabytes(count).unwrap()
}

fn machine(size: f64) -> Machine {
    Machine::new(Some(gb(size))).with_architecture("x86_64")
}

// "No Validation of Memory Limits"

#[test]
fn a_budget_beyond_the_machine_is_warned_of_and_one_within_is_not() {
    let made = |budget| {
        let source = FakeSource::new(Bytes::from_mib(10));
        let builder = MemoryManager::builder(MemoryLimits::of(gb(budget)));
        let builder = builder.source(std::sync::Arc::new(source));
        captured(|| builder.machine(machine(13.0)).build().unwrap()).1
    };
    assert_eq!(
        made(16.0),
        ["WARNING: memory budget: Requested limit 16.00 GB exceeds total system memory 13.00 GB"]
    );
    assert_eq!(made(8.0), [""; 0]);
}

#[test]
fn a_limit_that_is_not_positive_is_refused() {
    assert_eq!(
        validate_memory_limit_on(&machine(13.0), Bytes::ZERO)
            .unwrap_err()
            .to_string(),
        "Requested limit 0.00 GB is not positive"
    );
    assert_eq!(
        gigabytes(-2.0).unwrap_err().to_string(),
        "Requested limit -2.00 GB is not positive"
    );
}

#[test]
fn a_limit_above_90_percent_of_the_machine_is_warned_of() {
    let machine = machine(10.0);
    let (fits, log) = captured(|| validate_memory_limit_on(&machine, gb(9.0)));
    assert_eq!((fits.unwrap(), log.len()), (None, 0));
    let (warned, log) = captured(|| validate_memory_limit_on(&machine, gb(9.5)));
    let message = "Requested limit 9.50 GB is 95.0% of total system memory 10.00 GB";
    assert_eq!(warned.unwrap().unwrap().to_string(), message);
    assert_eq!(log, [format!("WARNING: {message}")]);
}

// "No Multi-Instance Validation" and the matrix mode of "Integration Points"

#[test]
fn three_instances_above_95_percent_together_are_warned_of_with_each_limit() {
    let limits = [gb(2.0), gb(6.0), gb(9.0)];
    let warning = validate_total_allocations_on(&machine(17.5), &limits).unwrap();
    assert_eq!(
        warning.unwrap().to_string(),
        "Total memory allocation 17.00 GB is 97.1% of total system memory 17.50 GB. \
         Individual limits: 2.00 GB + 6.00 GB + 9.00 GB"
    );
}

#[test]
fn limits_that_fit_one_by_one_may_not_fit_together() {
    let machine = machine(13.0);
    let limits = [gb(2.0), gb(6.0), gb(9.0)];
    for limit in limits {
        assert!(validate_memory_limit_on(&machine, limit).is_ok());
    }
    assert!(matches!(
        validate_total_allocations_on(&machine, &limits),
        Err(LimitError::TotalExceeds { .. })
    ));
}

// "System Memory Detection"

/// The document returns 0.0 for an unknown size. A 0 would be taken for a size,
/// so it is `None` here, and the warning is the same.
#[test]
fn an_unknown_machine_is_a_warning_and_not_a_size_of_zero() {
    let unknown = Machine::new(None);
    let (result, log) = captured(|| validate_memory_limit_on(&unknown, gb(2.0)));
    assert_eq!(result.unwrap(), Some(LimitWarning::UnknownMachine));
    assert_eq!(
        log,
        ["WARNING: Could not determine total system memory: the limit was not compared with it"]
    );
}

#[test]
fn four_fifths_of_the_machine_are_recommended_and_pass_without_a_warning() {
    let total = get_system_memory().unwrap();
    let here = Machine::new(Some(total));
    let told = format!("System has {} RAM", Gigabytes(total));
    assert!(total > Bytes::ZERO, "{told}");
    let recommended = total.scale(8, 10);
    assert_eq!(validate_memory_limit_on(&here, recommended).unwrap(), None);
}

// "Silent Failure with No Logging" and "If you were ignoring failures"

#[test]
fn what_is_refused_is_in_the_log_in_both_modes() {
    let limits = ProcessLimits::new(Box::new(LinuxCalls), machine(4.0));
    let expected = "ERROR: Memory limit validation failed: Requested limit 100.00 GB exceeds \
                    total system memory 4.00 GB";
    let (lenient, log) = captured(|| limits.set(gb(100.0), false));
    assert!(!lenient.unwrap());
    assert_eq!(log, [expected]);
    let (strict, log) = captured(|| limits.set(gb(100.0), true));
    assert!(matches!(strict, Err(LimitError::Exceeds { .. })));
    assert_eq!(log, [expected]);
}
