//! Commands that mend what was found: each can be pasted as it stands, and
//! taken back.
//!
//! Never runs one. They are for the machine itself, whose settings lie below
//! `/proc/sys` and `/sys` wherever else they were read.

use grey_policy::doctor::Remedy;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::GlobalOptions;
use crate::recommend;

/// What mends a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Mend {
    /// The command, for a shell.
    pub(crate) command: String,
    /// What makes it last beyond a restart; `null` where it does by itself, or
    /// nothing can.
    pub(crate) lasting: Option<String>,
    /// What takes both back; `null` where the command changes nothing.
    pub(crate) undo: Option<String>,
}

impl Mend {
    /// The commands of `remedy`, on a machine with or without systemd.
    pub(crate) fn new(global: &GlobalOptions, systemd: bool, remedy: &Remedy) -> Self {
        let ours = |command: String| Self {
            command,
            lasting: None,
            undo: None,
        };
        match remedy {
            Remedy::Sysctl {
                name,
                value,
                before,
            } => sysctl(name, *value, *before),
            Remedy::SysFile {
                path,
                value,
                before,
            } => sys_file(path, value, before, systemd),
            Remedy::StopService { unit } => {
                let unit = grey_model::shell_word(unit.as_bytes());
                Self {
                    command: format!("sudo systemctl disable --now {unit}"),
                    lasting: None,
                    undo: Some(format!("sudo systemctl enable --now {unit}")),
                }
            }
            Remedy::Shell { command, undo } => Self {
                command: command.clone(),
                lasting: None,
                undo: undo.clone(),
            },
            Remedy::Ours(words) => ours(recommend::command(global, words)),
            Remedy::OursAsRoot(words) => {
                ours(format!("sudo {}", recommend::command(global, words)))
            }
        }
    }
}

/// sysctl.d(5): of several files that set the same, the last by name holds, and
/// many systems have a `99-sysctl.conf`.
fn sysctl(name: &str, value: u64, before: u64) -> Mend {
    let file = format!("/etc/sysctl.d/99-zz-grey-{}.conf", name.replace('.', "-"));
    Mend {
        command: format!("sudo sysctl -w {name}={value}"),
        lasting: Some(format!("echo '{name} = {value}' | sudo tee {file}")),
        undo: Some(format!(
            "sudo sysctl -w {name}={before} && sudo rm -f {file}"
        )),
    }
}

/// tmpfiles.d(5), `w`: systemd writes it at each start.
fn sys_file(path: &str, value: &str, before: &str, systemd: bool) -> Mend {
    let file = format!("/etc/tmpfiles.d/grey-{}.conf", path.replace('/', "-"));
    let undo = format!("echo {before} | sudo tee /sys/{path}");
    Mend {
        command: format!("echo {value} | sudo tee /sys/{path}"),
        lasting: systemd.then(|| format!("echo 'w /sys/{path} - - - - {value}' | sudo tee {file}")),
        undo: Some(match systemd {
            true => format!("{undo} && sudo rm -f {file}"),
            false => undo,
        }),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn mend(remedy: &Remedy, systemd: bool) -> Mend {
        let global = Cli::try_parse_from(["greyctl", "doctor"]).unwrap().global;
        Mend::new(&global, systemd, remedy)
    }

    #[test]
    fn a_setting_is_set_made_to_last_and_taken_back_to_what_it_was() {
        let remedy = Remedy::Sysctl {
            name: "vm.swappiness",
            value: 60,
            before: 0,
        };
        let file = "/etc/sysctl.d/99-zz-grey-vm-swappiness.conf";
        let expected = Mend {
            command: "sudo sysctl -w vm.swappiness=60".to_owned(),
            lasting: Some(format!("echo 'vm.swappiness = 60' | sudo tee {file}")),
            undo: Some(format!(
                "sudo sysctl -w vm.swappiness=0 && sudo rm -f {file}"
            )),
        };
        assert_eq!(mend(&remedy, false), expected);
    }

    #[test]
    fn only_systemd_writes_files_of_sysfs_at_each_start() {
        let remedy = Remedy::SysFile {
            path: "kernel/mm/ksm/run",
            value: "0".to_owned(),
            before: "1".to_owned(),
        };
        let with = mend(&remedy, true);
        assert_eq!(with.command, "echo 0 | sudo tee /sys/kernel/mm/ksm/run");
        assert!(with.lasting.unwrap().contains("/etc/tmpfiles.d/"));
        let without = mend(&remedy, false);
        assert_eq!(without.lasting, None);
        assert_eq!(
            without.undo.as_deref(),
            Some("echo 1 | sudo tee /sys/kernel/mm/ksm/run")
        );
    }
}
