//! Which programs run here that kill when memory is short, and which servers
//! that huge pages hurt.
//!
//! Never asks systemd: programs are known by their names, units by their cgroups.

use grey_model::{OomDaemon, Owner, Reading};

use crate::process::cgroup::parse_memory_cgroup;
use crate::process::list::{ProcessList, hides_processes};
use crate::roots::Kernel;

/// Programs that kill when memory is short, by the name of their process.
const DAEMONS: [&str; 4] = ["systemd-oomd", "earlyoom", "nohang", "oomd"];

/// Servers whose own documentation asks for transparent huge pages not to be
/// `always`: they fork to save, and hold many small values.
const SPARSE_SERVERS: [&str; 3] = ["redis-server", "valkey-server", "keydb-server"];

/// How many arguments of an interpreter are looked at for a program's name.
const MOST_ARGUMENTS: usize = 4;

/// What runs here, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPrograms {
    /// Programs that kill when memory is short.
    pub daemons: Reading<Vec<OomDaemon>>,
    /// Servers that hold memory sparsely, each name once.
    pub sparse_servers: Vec<String>,
}

/// Looks at the name of every process. Where procfs hides processes nobody can
/// say which daemons there are, and those that are seen do not tell.
#[must_use]
pub fn read_named_programs(kernel: &Kernel, buffer: &mut Vec<u8>) -> NamedPrograms {
    let mut found = NamedPrograms {
        daemons: Reading::Unknown("procfs hides the processes of others".to_owned()),
        sparse_servers: Vec::new(),
    };
    let mut list = ProcessList::new();
    let pids = match list.refresh(&kernel.proc) {
        Ok(pids) => pids,
        Err(error) => {
            found.daemons = error.into();
            return found;
        }
    };
    let mut daemons = Vec::new();
    for &pid in pids {
        // A process may end while we look.
        let Ok(comm) = kernel.proc.read(format!("{pid}/comm"), buffer) else {
            continue;
        };
        let comm = comm.trim_ascii().to_vec();
        let server = SPARSE_SERVERS.iter().find(|name| name.as_bytes() == comm);
        if let Some(server) = server
            && !found.sparse_servers.iter().any(|known| known == server)
        {
            found.sparse_servers.push((*server).to_owned());
        }
        if let Some(name) = daemon(kernel, pid, &comm, buffer) {
            daemons.push(OomDaemon {
                name,
                pid,
                unit: read_unit(kernel, pid, buffer),
            });
        }
    }
    if !hides_processes(kernel) {
        found.daemons = Reading::Known(daemons);
    }
    found
}

/// Which daemon the process is: by its name, or, where an interpreter runs it,
/// by its first arguments.
fn daemon(kernel: &Kernel, pid: u32, comm: &[u8], buffer: &mut Vec<u8>) -> Option<&'static str> {
    let named = |name: &[u8]| DAEMONS.into_iter().find(|daemon| daemon.as_bytes() == name);
    if comm.starts_with(b"python") {
        let arguments = kernel.proc.read(format!("{pid}/cmdline"), buffer).ok()?;
        return script(arguments).and_then(named);
    }
    named(comm)
}

/// The file name of the script that an interpreter was given: the first
/// argument that is no option.
#[must_use]
pub fn script(arguments: &[u8]) -> Option<&[u8]> {
    let mut arguments = arguments.split(|&byte| byte == 0).skip(1);
    let first = arguments
        .by_ref()
        .take(MOST_ARGUMENTS)
        .find(|argument| !argument.is_empty() && !argument.starts_with(b"-"))?;
    first.rsplit(|&byte| byte == b'/').next()
}

/// The unit of the system's systemd; not a user's, which is stopped by others.
fn read_unit(kernel: &Kernel, pid: u32, buffer: &mut Vec<u8>) -> Option<String> {
    let text = kernel.proc.read(format!("{pid}/cgroup"), buffer).ok()?;
    let cgroup = parse_memory_cgroup(text)?;
    match Owner::of(&cgroup.path, kernel.has_systemd()) {
        Owner::SystemdUnit { unit } | Owner::DelegatedBySystemd { unit } => {
            Some(unit).filter(|unit| unit.ends_with(".service"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_of_an_interpreter_is_its_first_plain_argument() {
        assert_eq!(
            script(b"python3\0-u\0/usr/sbin/nohang\0--monitor\0"),
            Some(&b"nohang"[..])
        );
        assert_eq!(script(b"python3\0"), None);
        assert_eq!(script(b""), None);
        assert_eq!(script(b"python3\0-c\0-x\0-y\0-z\0nohang\0"), None);
    }
}
