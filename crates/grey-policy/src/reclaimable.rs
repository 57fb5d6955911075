//! How much of a cgroup or a process the kernel can take back, and where it
//! would go.
//!
//! Estimates are floors: what is unknown counts as not reclaimable.

use grey_model::{
    Bytes, CgroupMemory, MemoryLimit, PreflightFacts, ProcessMemory, SwapDevice, Zram,
};

/// Below this much swap room, anonymous memory counts as stuck.
pub const SWAP_ROOM_FLOOR: Bytes = Bytes::from_mib(64);

/// What can be taken from a cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reclaimable {
    /// Page cache on the file lists; dirty pages are written first.
    pub file: Bytes,
    /// Anonymous memory and tmpfs that fits into swap.
    pub swappable: Bytes,
    /// Slab.
    pub slab: Bytes,
    /// Anonymous memory and tmpfs in all.
    pub anonymous: Bytes,
    /// Room in swap that the cgroup may use.
    pub swap_room: Bytes,
}

impl Reclaimable {
    /// Everything together.
    #[must_use]
    pub fn total(&self) -> Bytes {
        self.file
            .saturating_add(self.swappable)
            .saturating_add(self.slab)
    }
}

/// Free space on all swap devices. A zram device with a memory limit has no
/// more room than the memory that it may still take.
#[must_use]
pub fn free_swap(devices: &[SwapDevice], zram: &[Zram]) -> Bytes {
    devices
        .iter()
        .map(|device| {
            let free = device.total.saturating_sub(device.used);
            let name = device
                .path
                .as_bytes()
                .strip_prefix(b"/dev/")
                .unwrap_or_default();
            zram.iter()
                .find(|zram| zram.name.as_bytes() == name)
                .and_then(Zram::room)
                .map_or(free, |room| room.min(free))
        })
        .sum()
}

/// Free swap that `cgroup` may use: its own and its ancestors' `memory.swap.max`
/// count too.
#[must_use]
pub fn swap_room(facts: &PreflightFacts, cgroup: Option<&CgroupMemory>) -> Bytes {
    let machine = free_swap(&facts.swap_devices, &facts.zram);
    cgroup
        .into_iter()
        .chain(&facts.ancestors)
        .filter_map(|group| {
            let MemoryLimit::Bytes(max) = group.swap_max? else {
                return None;
            };
            Some(max.saturating_sub(group.swap_current.unwrap_or_default()))
        })
        .fold(machine, Bytes::min)
}

/// What the kernel can take from `cgroup`. All zero where `memory.stat` could
/// not be read. Protected memory of the groups below is left out.
#[must_use]
pub fn of_cgroup(facts: &PreflightFacts, cgroup: &CgroupMemory) -> Reclaimable {
    let swap_room = swap_room(facts, Some(cgroup));
    let stat = cgroup.stat.clone().unwrap_or_default();
    let sum = |parts: [Option<Bytes>; 2]| -> Bytes { parts.into_iter().flatten().sum() };
    let anonymous = sum([stat.inactive_anon, stat.active_anon]);
    let mut protected = facts.protected.unwrap_or_default();
    let mut unprotected = |bytes: Bytes| {
        let left = bytes.saturating_sub(protected);
        protected = protected.saturating_sub(bytes);
        left
    };
    let swappable = unprotected(anonymous).min(swap_room);
    let file = unprotected(sum([stat.inactive_file, stat.active_file]));
    // Objects in use keep half of reclaimable slab where it is, as a rule.
    let slab = Bytes(stat.slab_reclaimable.unwrap_or_default().0 / 2);
    Reclaimable {
        file,
        swappable,
        slab,
        anonymous,
        swap_room,
    }
}

/// What paging out `process` should take from its resident memory: anonymous
/// memory that fits into `room`, and file pages that nobody else maps. `None`
/// where the process could not be read.
#[must_use]
pub fn of_process(process: &ProcessMemory, room: Bytes) -> Option<Bytes> {
    let anonymous = process.rss_anon?;
    let locked = process.locked.unwrap_or_default();
    let private_file = process
        .uss
        .map(|uss| {
            uss.saturating_sub(anonymous)
                .min(process.rss_file.unwrap_or_default())
        })
        .unwrap_or_default();
    let movable = anonymous.saturating_sub(locked).min(room);
    Some(movable.saturating_add(private_file))
}
