//! A systemd made of a map, for tests.
//!
//! Knows only the units that the tests use.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use grey_model::{CgroupPath, KnobValue, UnitFacts, UnitMemoryProperty};

use crate::systemd::{
    ActiveState, DropInBefore, DropInOutcome, KeeperService, Reload, Restored, SystemdError,
    UnitManager,
};

#[derive(Debug, Clone)]
pub(super) struct FakeUnits {
    root: PathBuf,
    values: Rc<RefCell<BTreeMap<(String, &'static str), String>>>,
    drop_ins: Rc<RefCell<Vec<String>>>,
    scopes: Rc<RefCell<Vec<String>>>,
    cgroups: Rc<RefCell<BTreeMap<String, String>>>,
    silent: Rc<Cell<bool>>,
    denies: Rc<Cell<bool>>,
    identities: Rc<RefCell<BTreeMap<String, String>>>,
}

impl FakeUnits {
    pub(super) fn new(root: &Path) -> Self {
        let units = Self {
            root: root.to_owned(),
            values: Rc::default(),
            drop_ins: Rc::default(),
            scopes: Rc::default(),
            cgroups: Rc::default(),
            silent: Rc::default(),
            denies: Rc::default(),
            identities: Rc::default(),
        };
        units.add("db.service");
        units.set("db.service", UnitMemoryProperty::MemoryHigh, "536870912");
        units
    }

    fn add(&self, unit: &str) {
        for property in [
            UnitMemoryProperty::MemoryHigh,
            UnitMemoryProperty::MemoryMax,
        ] {
            self.values
                .borrow_mut()
                .insert((unit.to_owned(), property.name()), "infinity".to_owned());
        }
    }

    pub(super) fn set(&self, unit: &str, property: UnitMemoryProperty, value: &str) {
        self.values
            .borrow_mut()
            .insert((unit.to_owned(), property.name()), value.to_owned());
        if let Some(cgroup) = self.cgroups.borrow().get(unit)
            && !self.silent.get()
        {
            let file = property.cgroup_file().file_name();
            let text = value.replace("infinity", "max");
            fs::write(
                self.root.join("cgroup").join(cgroup).join(file),
                text + "\n",
            )
            .unwrap();
        }
    }

    /// From now on, the kernel is not told what is set.
    pub(super) fn stop_writing(&self) {
        self.silent.set(true);
    }

    /// From now on, nobody may set anything.
    pub(super) fn deny(&self) {
        self.denies.set(true);
    }

    fn permit(&self) -> Result<(), SystemdError> {
        if !self.denies.get() {
            return Ok(());
        }
        Err(SystemdError::NotPermitted {
            doing: "set properties".to_owned(),
            source: "interactive authorization required".into(),
        })
    }

    /// Makes the unit a transient one, or another one of the same name.
    pub(super) fn identify(&self, unit: &str, identity: &str) {
        self.identities
            .borrow_mut()
            .insert(unit.to_owned(), identity.to_owned());
    }

    /// Lets the unit run in the cgroup of that name below the root.
    pub(super) fn run_in(&self, unit: &str, cgroup: &str) {
        self.cgroups
            .borrow_mut()
            .insert(unit.to_owned(), cgroup.to_owned());
    }

    pub(super) fn state(&self) -> String {
        self.prune();
        format!(
            "{:?} {:?} {:?}",
            self.values.borrow(),
            self.drop_ins.borrow(),
            self.scopes.borrow()
        )
    }

    /// A scope that is empty ends.
    fn prune(&self) {
        settle(&self.root);
        let gone: Vec<String> = self
            .scopes
            .borrow()
            .iter()
            .filter(|scope| {
                let procs = self.root.join("cgroup").join(scope).join("cgroup.procs");
                fs::read_to_string(procs)
                    .unwrap_or_default()
                    .trim()
                    .is_empty()
            })
            .cloned()
            .collect();
        for scope in gone {
            let _ = fs::remove_dir_all(self.root.join("cgroup").join(&scope));
            self.scopes.borrow_mut().retain(|name| *name != scope);
            self.values
                .borrow_mut()
                .retain(|(unit, _), _| *unit != scope);
            self.drop_ins
                .borrow_mut()
                .retain(|name| !name.starts_with(&scope));
        }
    }

    fn missing(unit: &str) -> SystemdError {
        SystemdError::NoSuchUnit {
            unit: unit.to_owned(),
        }
    }
}

impl UnitManager for FakeUnits {
    fn unit_facts(&self, _unit: &str) -> Result<UnitFacts, SystemdError> {
        Ok(UnitFacts::default())
    }

    fn control_group(&self, unit: &str) -> Result<Option<CgroupPath>, SystemdError> {
        Ok(self
            .cgroups
            .borrow()
            .get(unit)
            .and_then(|cgroup| CgroupPath::new(format!("/{cgroup}").as_bytes())))
    }

    fn identity(&self, unit: &str) -> Result<Option<String>, SystemdError> {
        self.read_property(unit, UnitMemoryProperty::MemoryMax)?;
        Ok(self.identities.borrow().get(unit).cloned())
    }

    fn active_state(&self, _unit: &str) -> Result<ActiveState, SystemdError> {
        Ok(ActiveState::Active)
    }

    fn read_property(
        &self,
        unit: &str,
        property: UnitMemoryProperty,
    ) -> Result<KnobValue, SystemdError> {
        self.prune();
        self.values
            .borrow()
            .get(&(unit.to_owned(), property.name()))
            .map(|value| KnobValue(value.clone()))
            .ok_or_else(|| Self::missing(unit))
    }

    fn drop_in_before(
        &self,
        unit: &str,
        property: UnitMemoryProperty,
    ) -> Result<DropInBefore, SystemdError> {
        self.read_property(unit, property)?;
        Ok(DropInBefore {
            path: PathBuf::from(format!("/run/{unit}.d/50-{}.conf", property.name())),
            content: None,
            directory_exists: false,
            needs_reload: false,
        })
    }

    fn set_property(
        &self,
        unit: &str,
        property: UnitMemoryProperty,
        value: &KnobValue,
    ) -> Result<(), SystemdError> {
        self.read_property(unit, property)?;
        self.permit()?;
        self.set(unit, property, &value.0);
        let name = format!("{unit}/{}", property.name());
        self.drop_ins
            .borrow_mut()
            .retain(|drop_in| *drop_in != name);
        self.drop_ins.borrow_mut().push(name);
        Ok(())
    }

    fn restore_property(
        &self,
        unit: &str,
        property: UnitMemoryProperty,
        value: &KnobValue,
        drop_in: &DropInBefore,
    ) -> Result<Restored, SystemdError> {
        assert_eq!(drop_in.content, None);
        self.permit()?;
        let unit_exists = self.read_property(unit, property).is_ok();
        if unit_exists {
            self.set(unit, property, &value.0);
        }
        let name = format!("{unit}/{}", property.name());
        self.drop_ins
            .borrow_mut()
            .retain(|drop_in| *drop_in != name);
        Ok(Restored {
            unit_exists,
            drop_in: DropInOutcome::AsBefore,
            reload: Reload::NotNeeded,
        })
    }

    fn start_scope(
        &self,
        scope: &str,
        pid: u32,
        _origin: &CgroupPath,
        _description: &str,
    ) -> Result<CgroupPath, SystemdError> {
        let directory = self.root.join("cgroup").join(scope);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("cgroup.procs"), format!("{pid}\n")).unwrap();
        settle(&self.root);
        self.scopes.borrow_mut().push(scope.to_owned());
        self.add(scope);
        Ok(CgroupPath::new(scope.as_bytes()).unwrap())
    }

    fn scope_exists(&self, scope: &str) -> Result<bool, SystemdError> {
        self.prune();
        Ok(self.scopes.borrow().iter().any(|name| name == scope))
    }

    fn scope_processes(&self, scope: &str) -> Result<Vec<u32>, SystemdError> {
        settle(&self.root);
        let procs = self.root.join("cgroup").join(scope).join("cgroup.procs");
        Ok(fs::read_to_string(procs)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect())
    }

    fn wait_scope_gone(&self, scope: &str, _bound: Duration) -> Result<bool, SystemdError> {
        self.scope_exists(scope).map(|exists| !exists)
    }

    fn start_keeper_service(&self, _keeper: &KeeperService) -> Result<(), SystemdError> {
        Ok(())
    }

    fn stop_unit(&self, _unit: &str) -> Result<(), SystemdError> {
        Ok(())
    }
}

/// Moves processes as the kernel does: one that is listed in a second cgroup
/// was moved there.
pub(super) fn settle(root: &Path) {
    let mut lists = Vec::new();
    find_lists(&root.join("cgroup"), &mut lists);
    for entry in fs::read_dir(root.join("proc")).unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let file = entry.path().join("cgroup");
        let now = fs::read_to_string(&file).unwrap();
        let home = root
            .join("cgroup")
            .join(now.trim().trim_start_matches("0::/"))
            .join("cgroup.procs");
        let listing = |path: &Path| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .lines()
                .any(|line| line == pid.to_string())
        };
        let Some(other) = lists.iter().find(|path| **path != home && listing(path)) else {
            continue;
        };
        if home.exists() {
            let rest: String = fs::read_to_string(&home)
                .unwrap()
                .lines()
                .filter(|line| *line != pid.to_string())
                .map(|line| format!("{line}\n"))
                .collect();
            fs::write(&home, rest).unwrap();
        }
        let directory = other.parent().unwrap();
        let path = directory.strip_prefix(root.join("cgroup")).unwrap();
        fs::write(&file, format!("0::/{}\n", path.display())).unwrap();
    }
}

fn find_lists(directory: &Path, lists: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find_lists(&path, lists);
        } else if path.file_name().is_some_and(|name| name == "cgroup.procs") {
            lists.push(path);
        }
    }
}
