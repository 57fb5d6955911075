//! Limits of what somebody else manages: refused, with the command by which its
//! owner sets the same limit.
//!
//! Never leaves a place to fill in: the command has the limit that was asked for.

use grey_model::{CgroupPath, MemoryLimit, Owner, Refusal, UnitMemoryProperty, shell_word};

use crate::refusals::harmful;

/// Why a limit of `cgroup` is its owner's alone; `None` where it is not.
pub(crate) fn refusal(
    owner: &Owner,
    cgroup: &CgroupPath,
    property: UnitMemoryProperty,
    limit: MemoryLimit,
) -> Option<Refusal> {
    match owner {
        Owner::DelegatedBySystemd { unit } => Some(harmful(
            format!("{cgroup} lies below {unit}, which manages it by itself"),
            format!(
                "limit the whole unit: --target {}",
                shell_word(unit.as_bytes())
            ),
        )),
        Owner::UserUnit { manager, unit } => {
            let user = manager
                .trim_start_matches("user@")
                .trim_end_matches(".service");
            Some(harmful(
                format!("{unit} belongs to the systemd of user {user}"),
                format!(
                    "--reclaim and --page-out work from here; as that user: systemctl --user \
                     set-property --runtime -- {} {}",
                    shell_word(unit.as_bytes()),
                    assignment(property, limit)
                ),
            ))
        }
        Owner::Container { engine, id } => Some(harmful(
            format!("{cgroup} belongs to a container of {engine}"),
            format!(
                "--reclaim and --page-out work from here; {}",
                of_container(engine, id, property, limit)
            ),
        )),
        Owner::Kubelet { .. } => Some(harmful(
            format!("{cgroup} belongs to the kubelet, which would set it back"),
            "set resources.limits.memory of the pod; --reclaim and --page-out work from here",
        )),
        Owner::Root | Owner::Ours | Owner::Nobody | Owner::SystemdUnit { .. } => None,
    }
}

/// As systemctl takes it.
fn assignment(property: UnitMemoryProperty, limit: MemoryLimit) -> String {
    let value = limit
        .bytes()
        .map_or_else(|| "infinity".to_owned(), |bytes| bytes.0.to_string());
    format!("{}={value}", property.name())
}

fn of_container(
    engine: &str,
    id: &str,
    property: UnitMemoryProperty,
    limit: MemoryLimit,
) -> String {
    if engine == "nspawn" {
        return format!(
            "the limit: systemctl set-property --runtime -- {} {}",
            shell_word(id.as_bytes()),
            assignment(property, limit)
        );
    }
    // Engines differ in how a limit is lifted, and some cannot.
    let Some(bytes) = limit.bytes() else {
        return format!("lift its limit with {engine}");
    };
    let (bytes, short) = (bytes.0, id.get(..12).unwrap_or(id));
    let (short, id) = (shell_word(short.as_bytes()), shell_word(id.as_bytes()));
    let command = match engine {
        // Swap is left as free as our own limit leaves it.
        "docker" => format!("docker update --memory {bytes} --memory-swap -1 {short}"),
        "podman" => format!("podman update --memory {bytes} {short}"),
        "containerd" => format!("nerdctl update --memory {bytes} {short}"),
        "lxc" => format!("lxc config set {id} limits.memory {bytes}"),
        _ => return format!("ask {engine} to change the limit of {short}"),
    };
    match property {
        UnitMemoryProperty::MemoryMax => format!("the limit: {command}"),
        UnitMemoryProperty::MemoryHigh => {
            format!("{engine} does not throttle, and limits so: {command}")
        }
    }
}
