//! What we may do: the effective capabilities of this process.
//!
//! Never tries an operation to find out.

use grey_model::{Capabilities, Privileges};

use crate::ascii;
use crate::read::ReadError;
use crate::roots::Kernel;

/// Numbers of `linux/capability.h`.
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_NICE: u32 = 23;
const CAP_SYS_RESOURCE: u32 = 24;

/// Reads our own privileges from `/proc/self/status`.
///
/// # Errors
/// [`ReadError`] when the file cannot be read.
pub fn read_privileges(kernel: &Kernel, buffer: &mut Vec<u8>) -> Result<Privileges, ReadError> {
    kernel
        .proc
        .read("self/status", buffer)
        .map(parse_privileges)
}

/// `CapEff` and the effective of the four numbers after `Uid`. What is not
/// there is not permitted.
#[must_use]
pub fn parse_privileges(status: &[u8]) -> Privileges {
    let mut privileges = Privileges::default();
    for line in ascii::lines(status) {
        if let Some(mask) = line.strip_prefix(b"CapEff:").and_then(parse_mask) {
            let has = |capability: u32| mask & (1 << capability) != 0;
            privileges.sys_ptrace = has(CAP_SYS_PTRACE);
            privileges.sys_admin = has(CAP_SYS_ADMIN);
            privileges.sys_nice = has(CAP_SYS_NICE);
            privileges.sys_resource = has(CAP_SYS_RESOURCE);
        } else if let Some(ids) = line.strip_prefix(b"Uid:") {
            privileges.root = ascii::words(ids).nth(1) == Some(b"0");
        }
    }
    privileges
}

/// The whole effective set and the effective user; `None` where one of them is
/// not there.
#[must_use]
pub fn parse_capabilities(status: &[u8]) -> Option<Capabilities> {
    let line = |name: &[u8]| ascii::lines(status).find_map(|line| line.strip_prefix(name));
    let user = ascii::words(line(b"Uid:")?).nth(1)?;
    Some(Capabilities {
        root: ascii::parse_u64(user)? == 0,
        effective: line(b"CapEff:").and_then(parse_mask)?,
    })
}

/// A mask in hexadecimal digits without a prefix.
fn parse_mask(text: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(text.trim_ascii()).ok()?;
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use grey_model::Capability;

    use super::*;

    #[test]
    fn each_capability_is_its_bit() {
        let status = |mask: u64| {
            format!("Name:\tx\nUid:\t1000\t1000\t0\t0\nCapPrm:\tffff\nCapEff:\t{mask:016x}\n")
        };
        let of = |bit: u32| parse_privileges(status(1 << bit).as_bytes());
        assert!(of(19).sys_ptrace && !of(19).sys_admin);
        assert!(of(21).sys_admin && !of(21).sys_nice);
        assert!(of(23).sys_nice && !of(23).sys_resource);
        assert!(of(24).sys_resource && !of(24).sys_ptrace);
        assert!(!of(24).root);
    }

    #[test]
    fn the_whole_set_is_known_or_nothing() {
        let found = parse_capabilities(b"Uid:\t0\t7\t0\t0\nCapEff:\t0000000000080002\n").unwrap();
        assert!(!found.root && found.has(Capability::DacOverride));
        assert!(found.has(Capability::SysPtrace) && !found.has(Capability::SysNice));
        for text in [
            &b""[..],
            b"Uid:\t0\t0\n",
            b"CapEff:\t0\n",
            b"Uid:\t0\tx\nCapEff:\t0\n",
        ] {
            assert_eq!(parse_capabilities(text), None, "{text:?}");
        }
    }

    #[test]
    fn root_is_the_effective_user() {
        assert!(parse_privileges(b"Uid:\t1000\t0\t0\t0\n").root);
        assert!(!parse_privileges(b"Uid:\t0\t1000\t0\t0\n").root);
    }

    #[test]
    fn a_broken_file_permits_nothing() {
        for text in [
            &b""[..],
            b"CapEff:\txyz\nUid:\n",
            b"CapEff:\t+ffffffff\n",
            b"CapEff:",
        ] {
            assert_eq!(parse_privileges(text), Privileges::default());
        }
    }
}
