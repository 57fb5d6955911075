//! What the kernel tells of cold memory without being asked to look.
//!
//! Never writes, and never makes the kernel walk anything.

use grey_model::{ColdCost, ColdMemory, ColdMethod, GenerationList, ResolvedTarget, TargetKind};
use grey_policy::cold::{ColdEstimate, WINDOWS, by_ages};
use grey_telemetry::Kernel;
use grey_telemetry::cold::{Aging, count_others, probe_other_sources, read_generations};

use super::candidates::{Reasons, candidates};
use crate::count::counted;

/// Why what writes is not used here.
const NOT_ASKED: &str = "it disturbs the kernel's own view of what is in use, and was not asked \
                         for (--cold --for)";

/// What the ages of the target's pages say.
pub(crate) fn read_cold(kernel: &Kernel, target: &ResolvedTarget) -> ColdMemory {
    let not_asked = || Err(NOT_ASKED.to_owned());
    let others = probe_other_sources(kernel);
    let told = generations(kernel, target);
    let reasons = |ages| Reasons {
        ages,
        aging: not_asked(),
        marks: not_asked(),
    };
    match told {
        Ok((lists, _)) => {
            let mut cold = told_by(
                target,
                ColdMethod::GenerationAges,
                by_ages(&lists, &WINDOWS),
            );
            cold.remarks = remarks_on_ages(&cold, target);
            cold.candidates = candidates(reasons(Ok(())), others);
            cold
        }
        Err(reason) => unknown(target, candidates(reasons(Err(reason)), others)),
    }
}

/// The generations of the target's pages and of nobody else's, or why there
/// are none.
pub(super) fn generations(
    kernel: &Kernel,
    target: &ResolvedTarget,
) -> Result<(Vec<GenerationList>, Aging), String> {
    let Some(path) = &target.cgroup else {
        return Err(
            "the kernel keeps ages of pages by control group, and this is in none".to_owned(),
        );
    };
    if path.is_root() && target.kind != TargetKind::Process {
        return Err("the root cgroup is the whole machine".to_owned());
    }
    let generations =
        read_generations(kernel, path, &mut Vec::new()).map_err(|error| error.to_string())?;
    // Its own children's pages are not its own, either.
    let others = count_others(kernel, target).map_err(|error| error.to_string())?;
    if others > 0 {
        let others = counted(others, "other process", "other processes");
        return Err(format!(
            "the kernel keeps ages of pages by control group, and {path} has {others} in it"
        ));
    }
    Ok(generations)
}

/// An estimate as a part of a document.
pub(super) fn told_by(
    target: &ResolvedTarget,
    method: ColdMethod,
    estimate: ColdEstimate,
) -> ColdMemory {
    ColdMemory {
        target: target.typed.clone(),
        method: Some(method),
        counted: Some(estimate.counted),
        blind_seconds: estimate.blind.map(|blind| blind.as_secs_f64()),
        windows: estimate.windows,
        cost: ColdCost::default(),
        disturbs: None,
        remarks: Vec::new(),
        candidates: Vec::new(),
    }
}

/// Nothing serves.
pub(super) fn unknown(
    target: &ResolvedTarget,
    candidates: Vec<grey_model::ColdCandidate>,
) -> ColdMemory {
    ColdMemory {
        target: target.typed.clone(),
        method: None,
        counted: None,
        blind_seconds: None,
        windows: Vec::new(),
        cost: ColdCost::default(),
        disturbs: None,
        remarks: Vec::new(),
        candidates,
    }
}

fn remarks_on_ages(cold: &ColdMemory, target: &ResolvedTarget) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(blind) = cold.blind_seconds {
        let ago = grey_model::roughly(std::time::Duration::from_secs(
            std::time::Duration::try_from_secs_f64(blind)
                .unwrap_or_default()
                .as_secs(),
        ));
        remarks.push(format!(
            "the kernel has not looked which pages are in use for {ago}, which it does when memory \
             is needed: what was used since then counts as cold all the same"
        ));
    }
    remarks.push(
        "page cache that is read and not mapped begins among the old pages, whenever it was read"
            .to_owned(),
    );
    if target.kind == TargetKind::Process {
        remarks.push("the page cache that its cgroup is charged for is counted, too".to_owned());
    }
    remarks
}
