//! Units that we make: a scope around a process, a service that keeps a lease.
//!
//! Never makes a unit that stays in systemd's memory after its end.

use std::thread;
use std::time::{Duration, Instant};

use grey_model::CgroupPath;
use zbus::{OwnedObjectPath, Variant};

use super::bus::Method;
use super::error::SystemdError;
use super::manager::Systemd;
use super::unit_name::{UnitKind, UnitName};
use super::{ActiveState, KeeperService, UnitManager};

/// Time for a unit that was asked for to be there.
const START_BOUND: Duration = Duration::from_secs(30);
/// How often systemd is asked again while we wait, so that it has time to work.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// Where scopes and services go that have no better place.
const SYSTEM_SLICE: &str = "system.slice";

type Properties<'a> = Vec<(&'a str, Variant<'a>)>;
/// Other units that are made in the same go: none.
type Auxiliary<'a> = Vec<(&'a str, Properties<'a>)>;

pub(super) fn start_scope(
    systemd: &Systemd,
    scope: &str,
    pid: u32,
    origin: &CgroupPath,
    description: &str,
) -> Result<CgroupPath, SystemdError> {
    let name = UnitName::parse_as(scope, UnitKind::Scope)?;
    let slice = slice_of(origin);
    let properties = |oom_policy: bool| {
        let mut properties: Properties<'_> = vec![
            ("Description", Variant::from(description.to_owned())),
            ("PIDs", Variant::from(vec![pid])),
            ("Slice", Variant::from(slice.clone())),
            ("MemoryAccounting", Variant::from(true)),
            (
                "CollectMode",
                Variant::from("inactive-or-failed".to_owned()),
            ),
        ];
        if oom_policy {
            // Without it, systemd would end the whole scope when the kernel
            // kills one of its processes: not what happened where it came from.
            properties.push(("OOMPolicy", Variant::from("continue".to_owned())));
        }
        properties
    };
    let doing = || format!("start {name} around process {pid}");
    let job = match start(systemd, &name, properties(true), &doing) {
        // Scopes have OOMPolicy= since systemd 253.
        Err(SystemdError::NotSupported { .. }) => start(systemd, &name, properties(false), &doing),
        other => other,
    }?;
    wait_until_active(systemd, &name, &job)?;
    systemd
        .control_group(name.as_str())?
        .ok_or_else(|| SystemdError::DidNotStart {
            unit: name.as_str().to_owned(),
            state: "without a cgroup".to_owned(),
        })
}

pub(super) fn scope_exists(systemd: &Systemd, scope: &str) -> Result<bool, SystemdError> {
    let name = UnitName::parse_as(scope, UnitKind::Scope)?;
    state_of(systemd, &name).map(|state| state.is_some())
}

pub(super) fn scope_processes(systemd: &Systemd, scope: &str) -> Result<Vec<u32>, SystemdError> {
    let name = UnitName::parse_as(scope, UnitKind::Scope)?;
    let found: Result<Vec<(String, u32, String)>, SystemdError> = systemd.bus.call(
        Method::of_manager("GetUnitProcesses"),
        &(name.as_str(),),
        Some(scope),
        &|| format!("list the processes of {scope}"),
    );
    match found {
        Ok(processes) => Ok(processes.into_iter().map(|(_, pid, _)| pid).collect()),
        Err(SystemdError::NoSuchUnit { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

pub(super) fn wait_scope_gone(
    systemd: &Systemd,
    scope: &str,
    bound: Duration,
) -> Result<bool, SystemdError> {
    let name = UnitName::parse_as(scope, UnitKind::Scope)?;
    let start = Instant::now();
    while state_of(systemd, &name)?.is_some() {
        if start.elapsed() >= bound {
            return Ok(false);
        }
        thread::sleep(ASK_AGAIN);
    }
    Ok(true)
}

pub(super) fn start_keeper_service(
    systemd: &Systemd,
    keeper: &KeeperService,
) -> Result<(), SystemdError> {
    let name = UnitName::parse_as(&keeper.name, UnitKind::Service)?;
    let program = keeper.arguments.first().cloned().unwrap_or_default();
    let arguments: Vec<String> = keeper.arguments.iter().map(|text| literal(text)).collect();
    let command = vec![(program, arguments, false)];
    let properties: Properties<'_> = vec![
        ("Description", Variant::from(keeper.description.clone())),
        ("Type", Variant::from("exec".to_owned())),
        ("ExecStart", Variant::from(command)),
        ("Slice", Variant::from(SYSTEM_SLICE.to_owned())),
        (
            "CollectMode",
            Variant::from("inactive-or-failed".to_owned()),
        ),
        // When memory is short it is needed most; and when it is killed all
        // the same, it comes back.
        ("OOMScoreAdjust", Variant::from(-900_i32)),
        ("Restart", Variant::from("on-abnormal".to_owned())),
        ("RestartUSec", Variant::from(1_000_000_u64)),
        ("IgnoreSIGPIPE", Variant::from(true)),
        ("StandardInput", Variant::from("null".to_owned())),
    ];
    let job = start(systemd, &name, properties, &|| format!("start {name}"))?;
    wait_until_active(systemd, &name, &job)
}

pub(super) fn stop_unit(systemd: &Systemd, unit: &str) -> Result<(), SystemdError> {
    let name = UnitName::parse(unit)?;
    let stopped: Result<OwnedObjectPath, SystemdError> = systemd.bus.call(
        Method::of_manager("StopUnit"),
        &(name.as_str(), "replace"),
        Some(unit),
        &|| format!("stop {unit}"),
    );
    match stopped {
        Ok(_) | Err(SystemdError::NoSuchUnit { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn start(
    systemd: &Systemd,
    name: &UnitName,
    properties: Properties<'_>,
    doing: &dyn Fn() -> String,
) -> Result<OwnedObjectPath, SystemdError> {
    let auxiliary: Auxiliary<'_> = Vec::new();
    systemd.bus.call(
        Method::of_manager("StartTransientUnit"),
        &(name.as_str(), "fail", properties, auxiliary),
        Some(name.as_str()),
        doing,
    )
}

/// `None` when it has ended or never was.
fn state_of(systemd: &Systemd, name: &UnitName) -> Result<Option<ActiveState>, SystemdError> {
    match systemd.active_state(name.as_str()) {
        Ok(ActiveState::Inactive | ActiveState::Failed) | Err(SystemdError::NoSuchUnit { .. }) => {
            Ok(None)
        }
        Ok(state) => Ok(Some(state)),
        Err(error) => Err(error),
    }
}

/// Waits until the job that starts the unit is done, and sees what came of it.
fn wait_until_active(
    systemd: &Systemd,
    name: &UnitName,
    job: &OwnedObjectPath,
) -> Result<(), SystemdError> {
    let start = Instant::now();
    while job_exists(systemd, name, job)? {
        if start.elapsed() >= START_BOUND {
            return Err(SystemdError::TimedOut {
                doing: format!("start {name}"),
                limit: START_BOUND,
            });
        }
        thread::sleep(ASK_AGAIN);
    }
    let state = match state_of(systemd, name)? {
        Some(ActiveState::Active | ActiveState::Reloading) => return Ok(()),
        Some(state) => format!("{state:?}").to_lowercase(),
        None => "gone".to_owned(),
    };
    Err(SystemdError::DidNotStart {
        unit: name.as_str().to_owned(),
        state,
    })
}

/// A job's object is there as long as the job waits or runs.
fn job_exists(
    systemd: &Systemd,
    name: &UnitName,
    job: &OwnedObjectPath,
) -> Result<bool, SystemdError> {
    let interface = "org.freedesktop.systemd1.Job";
    match systemd
        .bus
        .property(job.as_str(), interface, "State", name.as_str())
    {
        Ok(_) => Ok(true),
        Err(SystemdError::Call { .. } | SystemdError::NotSupported { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// An argument that systemd hands on as it is: it would put the value of a
/// variable in the place of `$NAME`.
fn literal(argument: &str) -> String {
    argument.replace('$', "$$")
}

/// The innermost slice of systemd itself that a cgroup lies in. The slices of
/// a user's own manager, further down, are not systemd's to use.
fn slice_of(origin: &CgroupPath) -> String {
    origin
        .components()
        .map_while(|name| std::str::from_utf8(name).ok())
        .take_while(|name| name.ends_with(".slice") && UnitName::parse(name).is_ok())
        .last()
        .unwrap_or(SYSTEM_SLICE)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(path: &str) -> String {
        slice_of(&CgroupPath::new(path.as_bytes()).unwrap())
    }

    #[test]
    fn no_argument_of_a_keeper_names_a_variable() {
        assert_eq!(literal("/srv/$HOME/a$"), "/srv/$$HOME/a$$");
    }

    #[test]
    fn a_scope_stays_in_the_slice_of_its_process() {
        assert_eq!(
            slice("/user.slice/user-1000.slice/session-3.scope"),
            "user-1000.slice"
        );
        assert_eq!(slice("/system.slice/cron.service"), "system.slice");
        assert_eq!(slice("/machine.slice"), "machine.slice");
    }

    #[test]
    fn a_users_own_slices_are_not_used() {
        let path = "/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope";
        assert_eq!(slice(path), "user-1000.slice");
    }

    #[test]
    fn a_process_outside_of_all_slices_goes_to_the_system_slice() {
        assert_eq!(slice("/"), "system.slice");
        assert_eq!(slice("/init.scope"), "system.slice");
        assert_eq!(slice("/build/web.slice"), "system.slice");
    }
}
