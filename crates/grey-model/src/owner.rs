//! Who a cgroup belongs to, as far as its path tells.
//!
//! Never asks anybody: systemd and container engines name their cgroups in a
//! fixed way, and that naming is all that is used here.

use serde::{Deserialize, Serialize};

use crate::identity::CgroupPath;

/// The cgroup subtree in which everything is ours.
pub const OUR_SUBTREE: &str = "grey-optimizer";

/// Who manages a cgroup, and so who must be asked to change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Owner {
    /// The root of the hierarchy.
    Root,
    /// Below `/grey-optimizer`.
    Ours,
    /// Nobody that is known: it may be written directly.
    Nobody,
    /// A unit of the system's systemd.
    SystemdUnit {
        /// `nginx.service`, `session-3.scope`, `system.slice`.
        unit: String,
    },
    /// Below a unit of the system's systemd, which was given the subtree to manage.
    DelegatedBySystemd {
        /// The unit.
        unit: String,
    },
    /// A unit of a user's systemd.
    UserUnit {
        /// `user@1000.service`.
        manager: String,
        /// `app-editor.scope`, below it.
        unit: String,
    },
    /// A container.
    Container {
        /// `docker`, `podman`, `containerd`, `cri-o`, `lxc`, `nspawn`.
        engine: String,
        /// The engine's id or name for it.
        id: String,
    },
    /// A pod or a part of one.
    Kubelet {
        /// The container's id, where the path ends in one.
        container: Option<String>,
    },
}

impl Owner {
    /// The owner of the cgroup at `path`. `systemd` says whether systemd is
    /// PID 1; without it, names that end in `.service` mean nothing.
    #[must_use]
    pub fn of(path: &CgroupPath, systemd: bool) -> Self {
        let names: Vec<String> = path
            .components()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        let Some(last) = names.last() else {
            return Self::Root;
        };
        if names
            .iter()
            .any(|name| name == "kubepods" || name.starts_with("kubepods.slice"))
        {
            let container = container_in(last)
                .map(|(_, id)| id)
                .or_else(|| bare_id(last));
            return Self::Kubelet { container };
        }
        if let Some((engine, id)) = container_of(&names) {
            return Self::Container { engine, id };
        }
        if names[0] == OUR_SUBTREE {
            return Self::Ours;
        }
        if !systemd {
            return Self::Nobody;
        }
        systemd_owner(&names)
    }

    /// The unit's name, when a systemd manages it.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        match self {
            Self::SystemdUnit { unit }
            | Self::DelegatedBySystemd { unit }
            | Self::UserUnit { unit, .. } => Some(unit),
            _ => None,
        }
    }

    /// The container as `engine:id`, when it is one.
    #[must_use]
    pub fn container(&self) -> Option<String> {
        match self {
            Self::Container { engine, id } => Some(format!("{engine}:{id}")),
            Self::Kubelet { container } => container.as_ref().map(|id| format!("kubelet:{id}")),
            _ => None,
        }
    }
}

fn systemd_owner(names: &[String]) -> Owner {
    let Some(deepest) = names.iter().rposition(|name| is_unit_name(name)) else {
        return Owner::Nobody;
    };
    let unit = names[deepest].clone();
    let manager = names[..deepest]
        .iter()
        .find(|name| name.starts_with("user@") && name.ends_with(".service"));
    if let Some(manager) = manager {
        return Owner::UserUnit {
            manager: manager.clone(),
            unit,
        };
    }
    // A slice never delegates to somebody who is not a unit: a plain
    // directory below it was made by hand, but systemd still owns the slice.
    if deepest + 1 == names.len() {
        Owner::SystemdUnit { unit }
    } else {
        Owner::DelegatedBySystemd { unit }
    }
}

/// Whether systemd can have a unit of this name that has a cgroup: whoever makes
/// another one by hand has made a cgroup that is nobody's unit.
///
/// systemd.unit(5): at most 255 of letters, digits and `:-_.\@`.
#[must_use]
pub fn is_unit_name(name: &str) -> bool {
    const LONGEST: usize = 255;
    let may_be_in_it = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let has_kind = [".service", ".scope", ".slice"]
        .iter()
        .any(|suffix| name.len() > suffix.len() && name.ends_with(suffix));
    has_kind && name.len() <= LONGEST && name.bytes().all(may_be_in_it)
}

/// Engines name the scope or the directory; processes may sit further below.
fn container_of(names: &[String]) -> Option<(String, String)> {
    for (index, name) in names.iter().enumerate() {
        if let Some(found) = container_in(name) {
            return Some(found);
        }
        let below = names.get(index + 1);
        let engine = match name.as_str() {
            "docker" => "docker",
            "libpod_parent" => "podman",
            "machine.slice" => {
                if let Some(unit) = below.filter(|unit| unit.starts_with("systemd-nspawn@")) {
                    return Some(("nspawn".to_owned(), unit.clone()));
                }
                continue;
            }
            _ => continue,
        };
        if let Some(id) = below.and_then(|below| bare_id(below)) {
            return Some((engine.to_owned(), id));
        }
    }
    None
}

fn container_in(name: &str) -> Option<(String, String)> {
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    for (prefix, engine) in [
        ("docker-", "docker"),
        ("libpod-", "podman"),
        ("cri-containerd-", "containerd"),
        ("nerdctl-", "containerd"),
        ("crio-", "cri-o"),
    ] {
        if let Some(id) = stem.strip_prefix(prefix).and_then(bare_id) {
            return Some((engine.to_owned(), id));
        }
    }
    for prefix in ["lxc.payload.", "lxc.monitor."] {
        if let Some(id) = stem.strip_prefix(prefix).filter(|id| !id.is_empty()) {
            return Some(("lxc".to_owned(), id.to_owned()));
        }
    }
    None
}

fn bare_id(name: &str) -> Option<String> {
    let hexadecimal = name.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hexadecimal && name.len() >= 12).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(path: &str) -> Owner {
        Owner::of(&CgroupPath::new(path.as_bytes()).unwrap(), true)
    }

    const ID: &str = "3f4e5d6c7b8a90123f4e5d6c7b8a90123f4e5d6c7b8a90123f4e5d6c7b8a9012";

    #[test]
    fn units_belong_to_systemd() {
        let nginx = Owner::SystemdUnit {
            unit: "nginx.service".to_owned(),
        };
        assert_eq!(owner("/system.slice/nginx.service"), nginx);
        assert_eq!(
            owner("/system.slice/nginx.service/worker"),
            Owner::DelegatedBySystemd {
                unit: "nginx.service".to_owned()
            }
        );
        assert_eq!(
            owner("/user.slice/user-1000.slice/user@1000.service/app.slice/app-editor.scope"),
            Owner::UserUnit {
                manager: "user@1000.service".to_owned(),
                unit: "app-editor.scope".to_owned()
            }
        );
        assert_eq!(
            owner("/user.slice/user-1000.slice/session-3.scope"),
            Owner::SystemdUnit {
                unit: "session-3.scope".to_owned()
            }
        );
    }

    #[test]
    fn a_unit_name_means_nothing_where_systemd_does_not_run() {
        let path = CgroupPath::new(b"/web.service").unwrap();
        assert_eq!(Owner::of(&path, false), Owner::Nobody);
    }

    #[test]
    fn what_systemd_cannot_have_as_a_unit_is_none() {
        for name in [
            "/a*.service",
            "/a b.service",
            "/$(x).scope",
            "/.service",
            "/a\n.slice",
        ] {
            assert_eq!(owner(name), Owner::Nobody, "{name}");
        }
        let long = format!("/{}.service", "a".repeat(250));
        assert_eq!(owner(&long), Owner::Nobody);
        let escaped = Owner::SystemdUnit {
            unit: r"-a\x2db:c_d@1.service".to_owned(),
        };
        assert_eq!(owner(r"/-a\x2db:c_d@1.service"), escaped);
    }

    #[test]
    fn containers_are_recognised_in_both_driver_layouts() {
        for path in [
            format!("/system.slice/docker-{ID}.scope"),
            format!("/docker/{ID}"),
            format!("/docker/{ID}/init.scope"),
        ] {
            let expected = Owner::Container {
                engine: "docker".to_owned(),
                id: ID.to_owned(),
            };
            assert_eq!(owner(&path), expected, "{path}");
        }
        assert!(matches!(
            owner(&format!("/machine.slice/libpod-{ID}.scope/container")),
            Owner::Container { engine, .. } if engine == "podman"
        ));
        assert!(
            matches!(owner("/lxc.payload.web"), Owner::Container { engine, .. } if engine == "lxc")
        );
        // An operator's own directory is no container.
        assert_eq!(owner("/docker-build"), Owner::Nobody);
    }

    #[test]
    fn pods_belong_to_the_kubelet() {
        let path = format!(
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-containerd-{ID}.scope"
        );
        assert_eq!(
            owner(&path),
            Owner::Kubelet {
                container: Some(ID.to_owned())
            }
        );
        assert_eq!(
            owner("/kubepods/burstable/pod1"),
            Owner::Kubelet { container: None }
        );
    }

    #[test]
    fn our_own_subtree_is_ours() {
        assert_eq!(owner("/grey-optimizer/web-12"), Owner::Ours);
        assert_eq!(owner("/"), Owner::Root);
        assert_eq!(owner("/build"), Owner::Nobody);
    }
}
