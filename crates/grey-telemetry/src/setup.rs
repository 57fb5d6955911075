//! Gathers how this machine is set up for its memory, for `doctor` to judge.
//!
//! Never fails and never judges: what cannot be read is unknown, with why.

use std::os::fd::AsFd as _;

use grey_model::{Pressure, Reading, SetupFacts, SwapDevice, Zram};
use rustix::fs::Mode;

use crate::cgroup::own_limit::read_own_limit;
use crate::data_limit::parse_resource_limits;
use crate::facts::probe_features;
use crate::host::read_host;
use crate::oom_daemons::read_named_programs;
use crate::privileges::parse_capabilities;
use crate::proc::command_line::read_psi_parameter;
use crate::proc::meminfo::read_meminfo;
use crate::proc::pressure::parse_pressure;
use crate::proc::swaps::read_swaps;
use crate::proc::vm_settings::read_vm_settings;
use crate::process::list::process_listing;
use crate::read::{READING, ReadError};
use crate::roots::Kernel;
use crate::sys::NO_SYSFS;
use crate::sys::ksm::read_ksm;
use crate::sys::lru_gen::read_lru_gen;
use crate::sys::transparent_hugepage::read_huge_pages;
use crate::sys::zram::{read_backing_devices, read_zram};
use crate::sys::zswap::read_zswap;
use crate::syscall::has_pagemap_scan;

/// Reads everything, once.
#[must_use]
pub fn read_setup(kernel: &Kernel) -> SetupFacts {
    let mut buffer = Vec::new();
    let buffer = &mut buffer;
    let meminfo = read_meminfo(kernel, buffer);
    let zswap = match &meminfo {
        Ok(meminfo) => of_sysfs(kernel, read_zswap(kernel, meminfo, buffer)),
        Err(_) => Reading::Unknown("it needs `meminfo`".to_owned()),
    };
    let zram = read_all_zram(kernel, buffer);
    let programs = read_named_programs(kernel, buffer);
    SetupFacts {
        host: read_host(kernel, buffer),
        features: probe_features(kernel, buffer),
        meminfo: meminfo.map_or_else(Reading::from, Reading::Known),
        psi_parameter: read_psi_parameter(kernel, buffer),
        pressure: read_pressure(kernel, buffer),
        swap: read_all_swap(kernel, buffer),
        zram_backing: read_backing_devices(kernel, zram.known().map_or(&[], Vec::as_slice), buffer),
        zram,
        zswap,
        ksm: of_sysfs(kernel, read_ksm(kernel, buffer)),
        huge_pages: read_huge_pages(kernel, buffer),
        mglru: read_lru_gen(kernel, buffer),
        damon: probe_damon(kernel),
        pagemap_scan: probe_pagemap_scan(kernel),
        vm: read_vm_settings(kernel, buffer),
        capabilities: kernel.proc.look("self/status", buffer, parse_capabilities),
        limits: kernel
            .proc
            .look("self/limits", buffer, parse_resource_limits),
        processes: process_listing(kernel),
        daemons: programs.daemons,
        sparse_servers: programs.sparse_servers,
        own_limit: read_own_limit(kernel, buffer),
    }
}

/// Known to be off: built in, and turned off at boot.
///
/// # Kernel
/// `kernel/sched/psi.c`: where PSI is off there is no `/proc/pressure`; kernels
/// of some distributions have it empty, or answer EOPNOTSUPP.
fn read_pressure(kernel: &Kernel, buffer: &mut Vec<u8>) -> Reading<Option<Pressure>> {
    match kernel.proc.read("pressure/memory", buffer) {
        Ok(text) if text.trim_ascii().is_empty() => Reading::Known(None),
        Err(error) if error.is_unsupported() => Reading::Known(None),
        _ => kernel.proc.look("pressure/memory", buffer, |text| {
            parse_pressure(text).map(Some)
        }),
    }
}

/// Absent: the kernel has no swap built in. A file in which a line is not
/// understood is not understood: a device that is left out would be judged as
/// missing.
fn read_all_swap(kernel: &Kernel, buffer: &mut Vec<u8>) -> Reading<Vec<SwapDevice>> {
    let lines = kernel.proc.look("swaps", buffer, |text| {
        let lines = crate::ascii::lines(text).count();
        text.starts_with(b"Filename").then(|| lines - 1)
    });
    match (lines, read_swaps(kernel, buffer)) {
        (Reading::Known(lines), Ok(devices)) if devices.len() == lines => Reading::Known(devices),
        (Reading::Absent, _) => Reading::Absent,
        (Reading::Unknown(reason), _) => Reading::Unknown(reason),
        (_, Err(error)) => error.into(),
        (Reading::Known(_), Ok(_)) => {
            Reading::Unknown("a line of `/proc/swaps` is not understood".to_owned())
        }
    }
}

fn read_all_zram(kernel: &Kernel, buffer: &mut Vec<u8>) -> Reading<Vec<Zram>> {
    if kernel.sys.is_none() {
        return Reading::Unknown(NO_SYSFS.to_owned());
    }
    read_zram(kernel, buffer).map_or_else(Reading::from, Reading::Known)
}

/// `None` of these readers is "not built in", but only where there is a sysfs.
fn of_sysfs<T>(kernel: &Kernel, read: Result<Option<T>, ReadError>) -> Reading<T> {
    if kernel.sys.is_none() {
        return Reading::Unknown(NO_SYSFS.to_owned());
    }
    match read {
        Ok(Some(value)) => Reading::Known(value),
        Ok(None) => Reading::Absent,
        Err(error) => error.into(),
    }
}

/// # Kernel
/// `Documentation/admin-guide/mm/damon/usage.rst`, since 5.18.
fn probe_damon(kernel: &Kernel) -> Reading<()> {
    match &kernel.sys {
        None => Reading::Unknown(NO_SYSFS.to_owned()),
        Some(sys) if sys.has("kernel/mm/damon/admin") => Reading::Known(()),
        Some(_) => Reading::Absent,
    }
}

fn probe_pagemap_scan(kernel: &Kernel) -> Reading<()> {
    let name = "self/pagemap";
    match rustix::fs::openat(&kernel.proc, name, READING, Mode::empty()) {
        Ok(pagemap) if has_pagemap_scan(pagemap.as_fd()) => Reading::Known(()),
        Ok(_) => Reading::Absent,
        Err(errno) => ReadError::Open {
            path: kernel.proc.path().join(name),
            source: errno.into(),
        }
        .into(),
    }
}
