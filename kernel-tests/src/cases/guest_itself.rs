//! The guest itself: what every other case takes for granted.
//!
//! Never runs the product.

use std::time::Duration;

use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::Guest;
use crate::hog::HogOptions;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "boots_with_cgroup_v2_memory",
        guests: GuestName::ALL,
        deadline: DEADLINE,
        run: boots_with_cgroup_v2_memory,
    },
    Case {
        name: "zram_swap_can_be_used",
        guests: GuestName::ALL,
        deadline: DEADLINE,
        run: zram_swap_can_be_used,
    },
];

fn boots_with_cgroup_v2_memory(guest: &Guest) -> Result<Outcome, Failure> {
    let controllers = guest.read(guest.cgroup_root().join("cgroup.controllers"))?;
    assert!(
        controllers.split(' ').any(|name| name == "memory"),
        "{controllers}"
    );
    let pressure = guest.read("/proc/pressure/memory")?;
    assert!(pressure.starts_with("some avg10="), "{pressure}");
    let cgroup = guest.cgroup("grey-case")?;
    assert_eq!(cgroup.read("memory.max")?, "max");
    let reclaim = cgroup.path().join("memory.reclaim").exists();
    assert_eq!(reclaim, guest.name != GuestName::Linux5_10);
    Ok(Outcome::Passed)
}

fn zram_swap_can_be_used(guest: &Guest) -> Result<Outcome, Failure> {
    let swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let mut hog = guest.hog(&HogOptions::anonymous(64).in_cgroup(cgroup.path()))?;
    // Reclaims in this very write, down to the limit: there is swap.
    cgroup.write("memory.high", "32M")?;
    guest.wait_until("the hog is half in swap", Duration::from_secs(60), || {
        cgroup
            .read_number("memory.swap.current")
            .is_ok_and(|bytes| bytes > 24 << 20)
    })?;
    assert!(
        swap.mm_stat(1)? < swap.mm_stat(0)?,
        "zram compresses nothing"
    );
    cgroup.write("memory.high", "max")?;
    hog.touch_again()?;
    assert!(guest.status_kib(hog.pid(), "VmRSS")? > 60 << 10);
    Ok(Outcome::Passed)
}
