//! `/proc/sys/vm/*`: how the kernel is set to manage memory.
//!
//! Never changes one.

use grey_model::{Reading, VmSettings};

use crate::ascii;
use crate::roots::Kernel;

/// Reads every setting that is judged; each by itself, so that one that is
/// missing or garbled costs only itself.
#[must_use]
pub fn read_vm_settings(kernel: &Kernel, buffer: &mut Vec<u8>) -> VmSettings {
    let mut number = |name: &str| -> Reading<u64> {
        let path = format!("sys/vm/{name}");
        kernel.proc.look(path, buffer, ascii::single_u64)
    };
    VmSettings {
        swappiness: number("swappiness"),
        page_cluster: number("page-cluster"),
        min_free_kib: number("min_free_kbytes"),
        watermark_scale_factor: number("watermark_scale_factor"),
        vfs_cache_pressure: number("vfs_cache_pressure"),
        overcommit_memory: number("overcommit_memory"),
        overcommit_ratio: number("overcommit_ratio"),
        overcommit_kib: number("overcommit_kbytes"),
        panic_on_oom: number("panic_on_oom"),
        oom_kill_allocating_task: number("oom_kill_allocating_task"),
    }
}
