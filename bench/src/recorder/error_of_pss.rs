//! How far the recorder's PSS is from a full pass made at once after it, while
//! processes change.
//!
//! Of the processes that were started, all of which are recorded for this: those
//! of others may change as they like between the two.

use std::collections::{HashMap, HashSet};

use grey_model::{Bytes, ProcessField};
use grey_telemetry::history::{MOST_PROCESSES, Sampler, SamplerOptions};
use grey_telemetry::process::{ProcessScan, useful_threads};
use grey_telemetry::{Kernel, Roots};

use crate::error::BenchError;
use crate::fleet::Fleet;
use crate::measure::Spread;

/// Samples that are compared, after the first ones.
const TICKS: u32 = 20;
/// In at most so many before, every process is read for the first time.
const MOST_FIRST_TICKS: u32 = 200;

/// The errors as a line of text.
pub(super) fn measure(fleet: &mut Fleet) -> Result<String, BenchError> {
    let kernel = Kernel::open(&Roots::default())?;
    let options = SamplerOptions {
        processes: MOST_PROCESSES,
        ..SamplerOptions::default()
    };
    let mut sampler = Sampler::new(&kernel, options)?;
    let mut scan = ProcessScan::new();
    let mut first_ticks = 0;
    while first_ticks < MOST_FIRST_TICKS {
        first_ticks += 1;
        let ours: HashSet<u32> = fleet.pids().collect();
        let sample = sampler.sample(&kernel)?;
        let of_ours = sample
            .processes
            .iter()
            .filter(|process| ours.contains(&process.key.id.pid));
        if of_ours
            .into_iter()
            .all(|process| process.values.get(ProcessField::Pss).is_some())
        {
            break;
        }
    }
    let (mut of_sum, mut of_worst, mut unknown) = (Vec::new(), Vec::new(), 0);
    for _ in 0..TICKS {
        fleet.change_some()?;
        let ours: HashSet<u32> = fleet.pids().collect();
        let sample = sampler.sample(&kernel)?;
        let pass = scan.memory_pass(&kernel.proc, useful_threads())?;
        let full: HashMap<u32, Bytes> = pass
            .processes
            .iter()
            .filter(|(pid, _)| ours.contains(pid))
            .filter_map(|(pid, rollup)| Some((*pid, rollup.pss?)))
            .collect();
        let (mut sum, mut true_sum, mut worst) = (0_u64, 0_u64, 0.0_f64);
        for process in &sample.processes {
            let Some(&exact) = full.get(&process.key.id.pid) else {
                continue;
            };
            let Some(pss) = process.values.get(ProcessField::Pss) else {
                unknown += 1;
                continue;
            };
            sum += pss;
            true_sum += exact.get();
            worst = worst.max(percent(pss, exact.get()));
        }
        of_sum.push(percent(sum, true_sum));
        of_worst.push(worst);
    }
    let (Some(sum), Some(worst)) = (
        Spread::of(of_sum.into_iter()),
        Spread::of(of_worst.into_iter()),
    ) else {
        return Ok(String::new());
    };
    Ok(format!(
        "PSS of all of them, known after {first_ticks} ticks of 5 ms, beside a full pass, while \
         2 % of the processes change each tick: the sum off by {:.2} % (at most {:.2}), the worst \
         process by {:.1} % (at most {:.1}); {unknown} of the values unknown\n",
        sum.median, sum.max, worst.median, worst.max
    ))
}

fn percent(value: u64, exact: u64) -> f64 {
    if exact == 0 {
        return 0.0;
    }
    value.abs_diff(exact) as f64 / exact as f64 * 100.0
}
