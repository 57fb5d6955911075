//! The files that describe the whole machine: 1000 MiB of memory, two CPUs,
//! a kernel that has everything.
//!
//! The numbers fit together: of MemTotal 5 MiB are left unexplained.

use crate::kernel::FakeKernel;

/// Amounts in kB; see the comments for MiB.
const MEMINFO: &[(&str, u64)] = &[
    ("MemTotal", 1_024_000),     // 1000
    ("MemFree", 225_280),        // 220
    ("MemAvailable", 430_080),   // 420
    ("Buffers", 10_240),         // 10
    ("Cached", 256_000),         // 250, of them 60 tmpfs
    ("SwapCached", 20_480),      // 20, of them 5 not mapped
    ("Active", 225_280),         // 220
    ("Inactive", 240_640),       // 235
    ("Active(anon)", 102_400),   // 100
    ("Inactive(anon)", 168_960), // 165
    ("Active(file)", 122_880),   // 120
    ("Inactive(file)", 71_680),  // 70
    ("Unevictable", 10_240),     // 10
    ("Mlocked", 10_240),         // 10
    ("SwapTotal", 1_572_856),
    ("SwapFree", 1_490_936),
    ("Zswap", 6_144),     // 6
    ("Zswapped", 18_432), // 18
    ("Dirty", 192),
    ("Writeback", 0),
    ("AnonPages", 204_800), // 200
    ("Mapped", 81_920),
    ("Shmem", 61_440),        // 60
    ("KReclaimable", 43_008), // 42
    ("Slab", 71_680),         // 70
    ("SReclaimable", 40_960), // 40
    ("SUnreclaim", 30_720),   // 30
    ("KernelStack", 8_192),   // 8
    ("PageTables", 8_192),    // 8
    ("SecPageTables", 0),
    ("NFS_Unstable", 0),
    ("Bounce", 0),
    ("WritebackTmp", 0),
    ("CommitLimit", 2_084_856),
    ("Committed_AS", 512_000),
    ("VmallocTotal", 34_359_738_367),
    ("VmallocUsed", 30_720), // 30, the stacks among them
    ("VmallocChunk", 0),
    ("Percpu", 4_096), // 4
    ("HardwareCorrupted", 0),
    ("AnonHugePages", 40_960),
    ("ShmemHugePages", 0),
    ("ShmemPmdMapped", 0),
    ("FileHugePages", 0),
    ("FilePmdMapped", 0),
    ("CmaTotal", 0),
    ("CmaFree", 0),
    ("Balloon", 102_400), // 100, in MemTotal: the device deflates on OOM
];

const SWAPS: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
/dev/zram0                              partition\t524284\t\t81920\t\t100\n\
/swap\\040file                            file\t\t1048572\t\t0\t\t-2\n";

const VMSTAT: &str = "nr_free_pages 56320\nnr_zspages 6144\nworkingset_refault_anon 300\n\
workingset_refault_file 4000\nworkingset_nodes 12\npgpgin 900000\npgpgout 400000\npswpin 700\n\
pswpout 21000\npgfault 5000000\npgmajfault 1200\npgscan_kswapd 90000\npgscan_direct 800\n\
pgscan_direct_throttle 3\npgscan_khugepaged 0\npgscan_proactive 40\npgsteal_kswapd 85000\n\
pgsteal_direct 700\npgsteal_khugepaged 0\npgsteal_proactive 30\noom_kill 2\ndrop_pagecache 1\n\
drop_slab 1\nballoon_inflate 30000\nballoon_deflate 4400\ncow_ksm 9\nzswpin 100\nzswpout 5000\n\
nr_balloon_pages 25600\nnr_memmap_pages 0\n";

/// 256 pages on each of two CPUs' lists of one zone, and none in the other.
const ZONEINFO: &str = "Node 0, zone      DMA\n  per-node stats\n      nr_inactive_anon 42240\n  \
pages free     3840\n        boost    0\n        min      42\n        low      52\n        \
high     62\n        spanned  4095\n        present  3998\n        managed  3840\n        \
protection: (0, 900, 900, 900)\n  pagesets\n    cpu: 0\n              count:    0\n              \
high:     0\n              batch:    1\n              high_min: 0\n              high_max: 0\n  \
vm stats threshold: 4\n    cpu: 1\n              count:    0\n              high:     0\n              \
batch:    1\n              high_min: 0\n              high_max: 0\n  vm stats threshold: 4\n  \
node_unreclaimable:  0\n  start_pfn:           1\nNode 0, zone   Normal\n  pages free     60160\n        \
high     992\n  pagesets\n    cpu: 0\n              count:    256\n              high:     378\n              \
batch:    63\n  vm stats threshold: 20\n    cpu: 1\n              count:    256\n              \
high:     378\n              batch:    63\n  vm stats threshold: 20\nNode 0, zone  Movable\n  \
pages free     0\n        high     32\n";

pub(crate) const PRESSURE: &str = "some avg10=1.50 avg60=0.75 avg300=0.25 total=14759040\n\
full avg10=0.50 avg60=0.25 avg300=0.00 total=5615377\n";

const KSM: &[(&str, &str)] = &[
    ("run", "1\n"),
    ("pages_to_scan", "100\n"),
    ("sleep_millisecs", "20\n"),
    ("advisor_mode", "[none] scan-time\n"),
    ("pages_shared", "500\n"),
    ("pages_sharing", "4500\n"),
    ("pages_unshared", "1000\n"),
    ("pages_volatile", "70\n"),
    ("ksm_zero_pages", "20\n"),
    ("full_scans", "31\n"),
    ("general_profit", "-4096\n"),
    ("max_page_sharing", "256\n"),
];

const ZRAM: &[(&str, &str)] = &[
    ("disksize", "536870912\n"),
    // Original 72 MiB, compressed 22 MiB, memory 24 MiB.
    (
        "mm_stat",
        "75497472 23068672 25165824        0 26214400      128        0       64       64\n",
    ),
    ("comp_algorithm", "lzo-rle [lz4] zstd\n"),
    ("backing_dev", "none\n"),
];

const ZSWAP: &[(&str, &str)] = &[
    ("enabled", "Y\n"),
    ("compressor", "zstd\n"),
    ("max_pool_percent", "20\n"),
];

const VM: &[(&str, &str)] = &[
    ("drop_caches", "0\n"),
    ("swappiness", "60\n"),
    ("page-cluster", "0\n"),
    ("min_free_kbytes", "4047\n"),
    ("watermark_scale_factor", "10\n"),
    ("vfs_cache_pressure", "100\n"),
    ("overcommit_memory", "0\n"),
    ("overcommit_ratio", "50\n"),
    ("overcommit_kbytes", "0\n"),
    ("panic_on_oom", "0\n"),
    ("oom_kill_allocating_task", "0\n"),
];

/// Settings of reclaim and of huge pages, below `sys/kernel/mm`.
const MM: &[(&str, &str)] = &[
    ("lru_gen/enabled", "0x0007\n"),
    ("damon/admin/kdamonds/nr_kdamonds", "0\n"),
    ("transparent_hugepage/enabled", "always [madvise] never\n"),
    (
        "transparent_hugepage/defrag",
        "always defer defer+madvise [madvise] never\n",
    ),
    ("transparent_hugepage/khugepaged/max_ptes_none", "511\n"),
];

/// Bits 1, 2 and 32: statistics, deflate on OOM, version 1.
const BALLOON_FEATURES: &str = "0110000000000000000000000000000010000000000000000000000000000000\n";

pub(crate) fn write(kernel: &FakeKernel) {
    let meminfo: String = MEMINFO
        .iter()
        .map(|(key, kib)| format!("{:<16}{kib:>8} kB\n", format!("{key}:")))
        .collect();
    let huge_pages = "HugePages_Total:      32\nHugePages_Free:        8\nHugePages_Rsvd:        2\n\
        HugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:           65536 kB\n\
        DirectMap4k:       26624 kB\nDirectMap2M:      997376 kB\nDirectMap1G:           0 kB\n";
    kernel.write("proc/meminfo", meminfo + huge_pages);
    kernel.write("proc/swaps", SWAPS);
    kernel.write("proc/vmstat", VMSTAT);
    kernel.write("proc/zoneinfo", ZONEINFO);
    for name in ["cpu", "io", "memory"] {
        kernel.write(format!("proc/pressure/{name}"), PRESSURE);
    }
    kernel.write("proc/sys/kernel/osrelease", "6.18.0-fake\n");
    let boot_id = "11111111-2222-3333-4444-555555555555\n";
    kernel.write("proc/sys/kernel/random/boot_id", boot_id);
    for (name, content) in VM {
        kernel.write(format!("proc/sys/vm/{name}"), content);
    }
    kernel.write("proc/cmdline", "root=/dev/vda1 ro quiet\n");
    for (name, content) in MM {
        kernel.write(format!("sys/kernel/mm/{name}"), content);
    }

    for (name, content) in KSM {
        kernel.write(format!("sys/kernel/mm/ksm/{name}"), content);
    }
    // As on a real machine, the list of disks has links.
    for (name, content) in ZRAM {
        kernel.write(format!("sys/devices/virtual/block/zram0/{name}"), content);
    }
    // A device that nobody has initialised answers with zeros.
    let idle = "sys/devices/virtual/block/zram1";
    kernel.write(format!("{idle}/disksize"), "0\n");
    kernel.write(format!("{idle}/mm_stat"), "0 0 0 0 0 0 0 0 0\n");
    kernel.write(format!("{idle}/comp_algorithm"), "[lzo-rle] lzo lz4\n");
    for name in ["zram0", "zram1"] {
        let target = format!("../devices/virtual/block/{name}");
        kernel.link(format!("sys/block/{name}"), target);
    }
    kernel.write("sys/block/vda/size", "41943040\n");
    for (name, content) in ZSWAP {
        kernel.write(format!("sys/module/zswap/parameters/{name}"), content);
    }
    let driver = "sys/bus/virtio/drivers/virtio_balloon";
    kernel.write(format!("{driver}/virtio0/features"), BALLOON_FEATURES);
    kernel.write(format!("{driver}/bind"), "");
    kernel.write("run/systemd/system/.keep", "");
}

/// Version 1: each controller its own tree, beside a version 2 tree for
/// systemd. The processes' own `cgroup` files are written again to match.
pub(crate) fn write_hybrid_cgroups(kernel: &FakeKernel) {
    for controller in ["cpu", "pids", "systemd"] {
        kernel.write(format!("cgroup/{controller}/cgroup.procs"), "1\n2\n");
        kernel.write(format!("cgroup/{controller}/tasks"), "1\n2\n");
    }
    for (path, pids) in [
        ("", "1\n2\n"),
        ("/job", "310\n311\n320\n"),
        ("/job/empty", ""),
    ] {
        kernel.write(format!("cgroup/memory{path}/cgroup.procs"), pids);
        kernel.write(
            format!("cgroup/memory{path}/memory.usage_in_bytes"),
            "104857600\n",
        );
        kernel.write(
            format!("cgroup/memory{path}/memory.limit_in_bytes"),
            "9223372036854771712\n",
        );
    }
    kernel.write("cgroup/unified/cgroup.controllers", "\n");
    kernel.write("cgroup/unified/cgroup.subtree_control", "\n");
    kernel.write("cgroup/unified/cgroup.procs", "1\n2\n310\n311\n320\n");
    for pid in [310, 311, 320] {
        let lines = "4:memory:/job\n3:pids:/\n2:cpu:/\n1:name=systemd:/\n0::/\n";
        kernel.write(format!("proc/{pid}/cgroup"), lines);
    }
}
