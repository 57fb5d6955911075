//! The machine's memory at one instant: totals, breakdown, swap, pressure.
//!
//! Never fails because something optional is missing or may not be read: only
//! meminfo is needed. What could not be read is `None`.

use grey_model::{
    Breakdown, BreakdownInputs, Bytes, KsmState, Meminfo, Pressure, SwapDevice, SystemTotals,
    Vmstat, Zram, Zswap,
};
use serde::Serialize;

use crate::proc::meminfo::{parse_mem_available, read_meminfo};
use crate::proc::pressure::read_memory_pressure;
use crate::proc::swaps::read_swaps;
use crate::proc::vmstat::read_vmstat;
use crate::proc::zoneinfo::read_per_cpu_free_lists;
use crate::read::ReadError;
use crate::roots::Kernel;
use crate::sys::balloon::{balloon_size, read_balloon_stays_in_total};
use crate::sys::ksm::read_ksm;
use crate::sys::zram::read_zram;
use crate::sys::zswap::read_zswap;

/// What was read of the whole machine at one instant.
#[derive(Debug, Clone, Serialize)]
pub struct SystemSnapshot {
    /// `/proc/meminfo`.
    pub meminfo: Meminfo,
    /// The four numbers that people ask for first.
    pub totals: SystemTotals,
    /// Every byte of MemTotal, attributed once.
    pub breakdown: Breakdown,
    /// Free pages on the lists of single CPUs, which `MemFree` and
    /// `MemAvailable` do not count.
    #[serde(rename = "per_cpu_free_lists_bytes")]
    pub per_cpu_free_lists: Option<Bytes>,
    /// Memory pressure; `None` where PSI is off.
    pub pressure: Option<Pressure>,
    /// Swap devices.
    pub swap_devices: Vec<SwapDevice>,
    /// Initialised zram devices.
    pub zram: Vec<Zram>,
    /// zswap; `None` where it is not built in.
    pub zswap: Option<Zswap>,
    /// KSM; `None` where it is not built in.
    pub ksm: Option<KsmState>,
    /// Counters of reclaim, swapping and OOM kills.
    pub vmstat: Option<Vmstat>,
}

/// Reads the whole machine. What the breakdown is made of is read last and
/// back to back, so that the counters drift as little as they can.
///
/// # Errors
/// [`ReadError`] when meminfo cannot be read or lacks `MemTotal` or `MemFree`.
pub fn read_system(kernel: &Kernel, buffer: &mut Vec<u8>) -> Result<SystemSnapshot, ReadError> {
    let pressure = read_memory_pressure(kernel, buffer).ok().flatten();
    let swap_devices = read_swaps(kernel, buffer).unwrap_or_default();
    let ksm = read_ksm(kernel, buffer).ok().flatten();
    let stays_in_total = read_balloon_stays_in_total(kernel, buffer).ok().flatten();
    let vmstat = read_vmstat(kernel, buffer).ok();
    let zram = read_zram(kernel, buffer).unwrap_or_default();
    let meminfo = read_meminfo(kernel, buffer)?;
    let per_cpu_free_lists = read_per_cpu_free_lists(kernel, buffer).ok().flatten();
    let zswap = read_zswap(kernel, &meminfo, buffer).ok().flatten();

    let known = vmstat.clone().unwrap_or_default();
    let inputs = BreakdownInputs {
        per_cpu_free_lists,
        zram_pool: (!zram.is_empty()).then(|| zram.iter().map(|device| device.memory_used).sum()),
        page_descriptors: known
            .nr_memmap_pages
            .map(|pages| grey_model::Pages(pages).bytes(kernel.page_size)),
        balloon_in_total: stays_in_total
            .filter(|&stays| stays)
            .and_then(|_| balloon_size(&meminfo, &known, kernel.page_size)),
        kernel_stacks_in_vmalloc: kernel_stacks_in_vmalloc(&meminfo),
    };
    let malformed = |missing| ReadError::Malformed {
        path: kernel.proc.path().join("meminfo"),
        missing,
    };
    let totals = SystemTotals::from_meminfo(&meminfo)
        .ok_or_else(|| malformed("`MemTotal` or no `MemFree`"))?;
    let breakdown =
        Breakdown::attribute(&meminfo, &inputs).ok_or_else(|| malformed("`MemTotal`"))?;
    Ok(SystemSnapshot {
        meminfo,
        totals,
        breakdown,
        per_cpu_free_lists,
        pressure,
        swap_devices,
        zram,
        zswap,
        ksm,
        vmstat,
    })
}

/// What can be had now without swapping: `MemAvailable` and the per-CPU free
/// lists, which it does not count. For those who ask often: two files, no
/// allocation. `None` before 3.14.
///
/// # Errors
/// [`ReadError`] when meminfo cannot be read.
pub fn available_now(kernel: &Kernel, buffer: &mut Vec<u8>) -> Result<Option<Bytes>, ReadError> {
    let available = parse_mem_available(kernel.proc.read("meminfo", buffer)?);
    let listed = read_per_cpu_free_lists(kernel, buffer).ok().flatten();
    Ok(available.map(|bytes| bytes.saturating_add(listed.unwrap_or_default())))
}

/// Whether stacks of tasks are mapped by vmalloc (`VMAP_STACK`), and so are
/// counted in `VmallocUsed` too. It is the default on these architectures
/// since 4.9, 4.14, 5.17 and 4.20; a kernel built without it is
/// noticed when it uses less vmalloc than stacks.
#[must_use]
fn kernel_stacks_in_vmalloc(meminfo: &Meminfo) -> bool {
    let mapped_by_default = cfg!(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "s390x"
    ));
    mapped_by_default && meminfo.vmalloc_used >= meminfo.kernel_stack
}
