//! Refusals and the sentences in them.
//!
//! A refusal always names the next step.

use grey_model::{PreflightFacts, Refusal, RefusalKind, Target};

pub(crate) fn usage(reason: impl Into<String>, hint: impl Into<String>) -> Refusal {
    Refusal {
        kind: RefusalKind::Usage,
        reason: reason.into(),
        hint: hint.into(),
    }
}

pub(crate) fn not_permitted(reason: impl Into<String>, hint: impl Into<String>) -> Refusal {
    Refusal {
        kind: RefusalKind::NotPermitted,
        reason: reason.into(),
        hint: hint.into(),
    }
}

pub(crate) fn harmful(reason: impl Into<String>, hint: impl Into<String>) -> Refusal {
    Refusal {
        kind: RefusalKind::Unsafe,
        reason: reason.into(),
        hint: hint.into(),
    }
}

pub(crate) fn not_supported(reason: impl Into<String>, hint: impl Into<String>) -> Refusal {
    Refusal {
        kind: RefusalKind::NotSupported,
        reason: reason.into(),
        hint: hint.into(),
    }
}

/// Writing needs root: the same sentence everywhere.
pub(crate) fn needs_root(what: &str) -> Refusal {
    not_permitted(
        format!("{what} needs root"),
        "run the same command with sudo",
    )
}

/// Without cgroup v2 memory nothing that limits or reclaims a group can work.
pub(crate) fn needs_v2_memory(what: &str) -> Refusal {
    not_supported(
        format!("{what} needs the memory controller of cgroup v2, which is not mounted here"),
        "boot with cgroup_no_v1=memory (where systemd runs: systemd.unified_cgroup_hierarchy=1); --page-out, --enable-ksm, --drop-caches, \
         --oom-score-adj and --rlimit-data work without it",
    )
}

/// A threaded cgroup has no memory of its own to limit or reclaim; `None` where
/// the target is none.
pub(crate) fn threaded(facts: &PreflightFacts) -> Option<Refusal> {
    let domain = facts.threaded_domain.as_ref()?;
    let cgroup = facts.target.as_ref()?.cgroup.as_ref()?;
    let word = Target::Cgroup(domain.clone()).to_word();
    let hint = match word.filter(|_| !domain.is_root()) {
        Some(word) => format!("name the one that has it: --target {word}"),
        None => "use --page-out for its processes, or start them in a cgroup that is no thread of \
                 another"
            .to_owned(),
    };
    Some(not_supported(
        format!(
            "cgroup {cgroup} is threaded (cgroup.type): the memory of its processes is charged to \
             {domain}"
        ),
        hint,
    ))
}
