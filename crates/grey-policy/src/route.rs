//! Which way a limit reaches its target: directly, through systemd, or around
//! a process that first needs a cgroup of its own.
//!
//! Owners are respected: what somebody else manages is asked of them or refused.

use grey_model::owner::OUR_SUBTREE;
use grey_model::{
    CgroupFile, CgroupPath, Change, Knob, KnobValue, MemoryLimit, Owner, PlanStep, PreflightFacts,
    ProcessId, Refusal, ResolvedTarget, Risk, Target, TargetKind, UnitMemoryProperty, shell_word,
};

use crate::plan::Draft;
use crate::refusals::{harmful, needs_root, needs_v2_memory, not_supported};
use crate::theirs;

/// Where a limit is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// In the cgroup's files.
    Direct(CgroupPath),
    /// As a property of a unit whose cgroup this is.
    Unit { unit: String, cgroup: CgroupPath },
    /// In a new scope around the process.
    NewScope {
        scope: String,
        process: ProcessId,
        origin: CgroupPath,
    },
    /// In a new cgroup of ours around the process.
    NewGroup {
        cgroup: CgroupPath,
        process: ProcessId,
        origin: CgroupPath,
    },
}

impl Route {
    /// Whether the target moves into a new cgroup, whose account starts at 0.
    pub(crate) const fn moves(&self) -> bool {
        matches!(self, Self::NewScope { .. } | Self::NewGroup { .. })
    }

    /// The knob for `property`, and what it is set to now.
    pub(crate) fn knob(
        &self,
        property: UnitMemoryProperty,
        facts: &PreflightFacts,
    ) -> (Knob, Option<KnobValue>) {
        let file = property.cgroup_file();
        match self {
            Self::Direct(cgroup) => {
                let id = facts.cgroup.as_ref().map(|group| group.id);
                let before = facts.cgroup.as_ref().and_then(|group| match file {
                    CgroupFile::MemoryHigh => group.high,
                    CgroupFile::MemoryMax => group.max,
                });
                let knob = Knob::CgroupFile {
                    cgroup: cgroup.clone(),
                    id,
                    file,
                };
                (knob, before.map(cgroup_value))
            }
            Self::Unit { unit, .. } => {
                let before = facts.unit.as_ref().and_then(|unit| match property {
                    UnitMemoryProperty::MemoryHigh => unit.memory_high,
                    UnitMemoryProperty::MemoryMax => unit.memory_max,
                });
                (
                    Knob::UnitProperty {
                        unit: unit.clone(),
                        property,
                    },
                    before.map(unit_value),
                )
            }
            Self::NewScope { scope, .. } => {
                let knob = Knob::UnitProperty {
                    unit: scope.clone(),
                    property,
                };
                (knob, Some(unit_value(MemoryLimit::Max)))
            }
            Self::NewGroup { cgroup, .. } => {
                let knob = Knob::CgroupFile {
                    cgroup: cgroup.clone(),
                    id: None,
                    file,
                };
                (knob, Some(cgroup_value(MemoryLimit::Max)))
            }
        }
    }

    /// `limit` as this route's knob writes it.
    pub(crate) fn value(&self, limit: MemoryLimit) -> KnobValue {
        match self {
            Self::Direct(_) | Self::NewGroup { .. } => cgroup_value(limit),
            Self::Unit { .. } | Self::NewScope { .. } => unit_value(limit),
        }
    }
}

fn cgroup_value(limit: MemoryLimit) -> KnobValue {
    KnobValue(
        limit
            .bytes()
            .map_or_else(|| "max".to_owned(), |bytes| bytes.0.to_string()),
    )
}

fn unit_value(limit: MemoryLimit) -> KnobValue {
    KnobValue(
        limit
            .bytes()
            .map_or_else(|| "infinity".to_owned(), |bytes| bytes.0.to_string()),
    )
}

/// Finds the way to the target, or why there is none; `property` and `limit`
/// are for the command of whoever it belongs to.
pub(crate) fn find(
    facts: &PreflightFacts,
    property: UnitMemoryProperty,
    limit: MemoryLimit,
) -> Result<Route, Refusal> {
    if !facts.host.cgroup_mode.has_v2_memory() {
        return Err(needs_v2_memory("setting a limit"));
    }
    let target = facts
        .target
        .as_ref()
        .ok_or_else(|| harmful("no target", "add --target"))?;
    let Some(cgroup) = &target.cgroup else {
        return Err(not_supported(
            format!("the cgroup of `{}` could not be read", target.typed),
            "run as root, outside a container",
        ));
    };
    if std::str::from_utf8(cgroup.as_bytes()).is_err() {
        return Err(not_supported(
            format!("the path of cgroup {cgroup} is not UTF-8, which the journal cannot record"),
            not_utf8_way_out(cgroup),
        ));
    }
    if !facts.privileges.root {
        return Err(needs_root("setting a limit"));
    }
    if !facts.features.cgroupfs_writable {
        return Err(not_supported(
            "the cgroup tree is mounted read-only",
            "run on the host, or in a container that may write its cgroups",
        ));
    }
    let owner = target.owner.clone().unwrap_or(Owner::Nobody);
    if let Some(theirs) = theirs::refusal(&owner, cgroup, property, limit) {
        return Err(theirs);
    }
    match (target.kind, target.process) {
        (TargetKind::Process, Some(process)) if needs_own_group(target, cgroup) => {
            around_process(facts, target, process, cgroup, &owner)
        }
        _ => existing_group(facts, cgroup, &owner),
    }
}

/// What to do about a name that cannot be recorded. Control groups of version 2
/// cannot be renamed.
fn not_utf8_way_out(cgroup: &CgroupPath) -> String {
    let above = std::iter::successors(cgroup.parent(), CgroupPath::parent)
        .filter(|path| !path.is_root())
        .find_map(|path| Target::Cgroup(path).to_word());
    let make = "have whoever makes it choose a name in UTF-8, as it cannot be renamed";
    match above {
        Some(above) => format!("limit the one above it: --target {above}; or {make}"),
        None => make.to_owned(),
    }
}

fn needs_own_group(target: &ResolvedTarget, cgroup: &CgroupPath) -> bool {
    target.bystanders > 0 || cgroup.is_root()
}

fn existing_group(
    facts: &PreflightFacts,
    cgroup: &CgroupPath,
    owner: &Owner,
) -> Result<Route, Refusal> {
    match owner {
        Owner::Root => Err(harmful(
            "the root cgroup has no limits",
            "name a cgroup, a unit or a process below it",
        )),
        Owner::Ours if cgroup.components().count() == 1 => Err(harmful(
            format!("{cgroup} only holds the groups that we make"),
            "name one of the groups below it",
        )),
        Owner::Ours | Owner::Nobody => Ok(Route::Direct(cgroup.clone())),
        Owner::SystemdUnit { unit } if facts.unit.is_some() => Ok(Route::Unit {
            unit: unit.clone(),
            cgroup: cgroup.clone(),
        }),
        Owner::SystemdUnit { unit } => Err(not_supported(
            format!("{unit} belongs to systemd, and systemd could not be asked over D-Bus"),
            "check that /run/dbus/system_bus_socket exists and that dbus runs",
        )),
        _ => Err(cannot_be_limited(cgroup)),
    }
}

fn around_process(
    facts: &PreflightFacts,
    target: &ResolvedTarget,
    process: ProcessId,
    origin: &CgroupPath,
    owner: &Owner,
) -> Result<Route, Refusal> {
    match owner {
        Owner::Root | Owner::Nobody | Owner::Ours => {}
        Owner::SystemdUnit { unit } if unit.ends_with(".service") => {
            return Err(harmful(
                format!(
                    "process {process} shares {unit} with {} other processes, and systemd would \
                     lose track of it in another cgroup",
                    target.bystanders
                ),
                format!(
                    "--page-out takes the process alone; limit the whole unit: --target {}",
                    shell_word(unit.as_bytes())
                ),
            ));
        }
        Owner::SystemdUnit { .. } => {}
        _ => return Err(cannot_be_limited(origin)),
    }
    let origin = origin.clone();
    if facts.host.systemd {
        let scope = format!("{OUR_SUBTREE}-{}.scope", process.pid);
        return Ok(Route::NewScope {
            scope,
            process,
            origin,
        });
    }
    let name = format!("{}-{}", safe_name(target.name.as_bytes()), process.pid);
    let cgroup = ours().child(name.as_bytes());
    let cgroup = cgroup.ok_or_else(|| harmful("the name makes no cgroup", "name a cgroup"))?;
    Ok(Route::NewGroup {
        cgroup,
        process,
        origin,
    })
}

fn cannot_be_limited(cgroup: &CgroupPath) -> Refusal {
    harmful(format!("{cgroup} cannot be limited"), "name another target")
}

/// Our subtree, below the root.
fn ours() -> CgroupPath {
    CgroupPath::new(OUR_SUBTREE.as_bytes()).unwrap_or_else(CgroupPath::root)
}

/// A process name as a cgroup name: letters, digits, `-`, `_`, at most 32.
fn safe_name(name: &[u8]) -> String {
    let safe: String = name
        .iter()
        .take(32)
        .map(|&byte| match byte {
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => char::from(byte),
            _ => '-',
        })
        .collect();
    if safe.is_empty() {
        "process".to_owned()
    } else {
        safe
    }
}

/// The steps that give the target a cgroup of its own; none when it has one.
pub(crate) fn prepare(route: &Route, action: &str, facts: &PreflightFacts, draft: &mut Draft) {
    let already = draft.steps.iter().any(|step| match &step.change {
        Change::Set {
            knob: Knob::ProcessCgroup { process },
            ..
        } => {
            matches!(route, Route::NewGroup { process: ours, .. } if ours == process)
        }
        Change::Set {
            knob: Knob::TransientScope { process, .. },
            ..
        } => {
            matches!(route, Route::NewScope { process: ours, .. } if ours == process)
        }
        _ => false,
    });
    if already {
        return;
    }
    match route {
        Route::Direct(_) | Route::Unit { .. } => {}
        Route::NewScope {
            scope,
            process,
            origin,
        } => {
            let knob = Knob::TransientScope {
                scope: scope.clone(),
                process: *process,
                origin: origin.clone(),
            };
            let reason = format!("process {process} shares {origin} with others");
            draft.steps.push(structural(
                action,
                knob,
                None,
                KnobValue::present(),
                &reason,
                &format!("move everything in the scope back to {origin}"),
            ));
            warn_about_old_charges(draft, *process, origin);
        }
        Route::NewGroup {
            cgroup,
            process,
            origin,
        } => {
            prepare_group(action, facts, cgroup, origin, draft);
            draft.steps.push(structural(
                action,
                Knob::ProcessCgroup { process: *process },
                Some(KnobValue(origin.to_string())),
                KnobValue(cgroup.to_string()),
                "the process gets a cgroup of its own",
                &format!("move it back to {origin}"),
            ));
            warn_about_old_charges(draft, *process, origin);
        }
    }
}

fn prepare_group(
    action: &str,
    facts: &PreflightFacts,
    cgroup: &CgroupPath,
    origin: &CgroupPath,
    draft: &mut Draft,
) {
    let absent = || Some(KnobValue("-memory".to_owned()));
    let controller = |cgroup: CgroupPath| Knob::MemoryController { cgroup };
    let directory = |cgroup: CgroupPath| Knob::CgroupDirectory {
        cgroup,
        refuge: origin.clone(),
    };
    let turn_on = KnobValue("+memory".to_owned());
    if facts.root_has_memory_controller != Some(true) {
        let reason = "groups below the root need the memory controller";
        let knob = controller(CgroupPath::root());
        draft.steps.push(structural(
            action,
            knob,
            absent(),
            turn_on.clone(),
            reason,
            "turn it off",
        ));
    }
    if facts.our_subtree.is_none() {
        let reason = "our groups live below one directory";
        let knob = directory(ours());
        draft.steps.push(structural(
            action,
            knob,
            None,
            KnobValue::present(),
            reason,
            "remove it when it is empty",
        ));
    }
    if facts.our_subtree != Some(true) {
        let reason = "our groups need the memory controller";
        let knob = controller(ours());
        draft.steps.push(structural(
            action,
            knob,
            absent(),
            turn_on,
            reason,
            "turn it off",
        ));
    }
    let reason = "a cgroup for the process alone";
    draft.steps.push(structural(
        action,
        directory(cgroup.clone()),
        None,
        KnobValue::present(),
        reason,
        &format!("move what is left in it to {origin} and remove it"),
    ));
}

fn warn_about_old_charges(draft: &mut Draft, process: ProcessId, origin: &CgroupPath) {
    draft.warn(format!(
        "what process {process} uses now stays charged to {origin}: the limit counts what it \
         takes from now on; --page-out gives back the old part"
    ));
}

fn structural(
    action: &str,
    knob: Knob,
    before: Option<KnobValue>,
    after: KnobValue,
    reason: &str,
    undo: &str,
) -> PlanStep {
    PlanStep {
        action: action.to_owned(),
        change: Change::Set {
            knob,
            before,
            after: Some(after),
        },
        predicted: None,
        risk: Risk::Low,
        reason: reason.to_owned(),
        undo: undo.to_owned(),
        guards: Vec::new(),
        may_block: false,
    }
}
