//! The machine's memory.

use grey_fake_kernel::FakeKernel;
use grey_model::{Bytes, PageSize, Pages, Percent, RowName, SwapKind};
use grey_telemetry::system::{SystemSnapshot, available_now, read_system};
use grey_telemetry::{Kernel, Roots};

use crate::open;

fn read(fake: &FakeKernel) -> SystemSnapshot {
    read_system(&open(fake), &mut Vec::new()).unwrap()
}

fn mib(snapshot: &SystemSnapshot, row: RowName) -> Option<i64> {
    snapshot.breakdown.bytes(row).map(|bytes| bytes >> 20)
}

#[test]
fn every_byte_is_attributed_once() {
    let snapshot = read(&FakeKernel::full());
    assert_eq!(snapshot.breakdown.sum(), 1000 << 20);
    let rows = [
        (RowName::Free, 220),
        (RowName::FreePerCpuLists, 2),
        (RowName::Anonymous, 200),
        (RowName::FileActive, 120),
        (RowName::FileInactive, 70),
        (RowName::FileOther, 10),
        (RowName::Shared, 60),
        (RowName::SwapCache, 5),
        (RowName::SlabReclaimable, 40),
        (RowName::KernelReclaimable, 2),
        (RowName::SlabUnreclaimable, 30),
        (RowName::PageTables, 8),
        (RowName::KernelStacks, 8),
        (RowName::Vmalloc, 22),
        (RowName::PerCpu, 4),
        (RowName::Hugetlb, 64),
        (RowName::Balloon, 100),
        (RowName::ZswapPool, 6),
        (RowName::ZramPool, 24),
        (RowName::Residual, 5),
    ];
    for (row, expected) in rows {
        assert_eq!(mib(&snapshot, row), Some(expected), "{row:?}");
    }
}

#[test]
fn meminfo_alone_is_enough() {
    let fake = FakeKernel::full();
    for name in ["vmstat", "zoneinfo", "swaps", "pressure"] {
        fake.remove(format!("proc/{name}"));
    }
    fake.remove("sys");
    let snapshot = read(&fake);
    assert_eq!(snapshot.totals.total, Bytes::from_mib(1000));
    assert_eq!(snapshot.breakdown.sum(), 1000 << 20);
    assert_eq!(snapshot.vmstat, None);
    assert_eq!(snapshot.per_cpu_free_lists, None);
    assert_eq!(snapshot.pressure, None);
    assert_eq!(snapshot.swap_devices, []);
    assert_eq!(snapshot.zram, []);
    assert_eq!(snapshot.zswap, None);
    assert_eq!(snapshot.ksm, None);
}

#[test]
fn without_meminfo_there_is_no_account() {
    let fake = FakeKernel::full().without("proc/meminfo");
    let error = read_system(&open(&fake), &mut Vec::new()).unwrap_err();
    assert!(error.is_vanished());
    let fake = FakeKernel::full().with("proc/meminfo", "MemFree: 5 kB\n");
    let error = read_system(&open(&fake), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("MemTotal"), "{error}");
}

#[test]
fn an_unreadable_optional_file_fails_nothing() {
    for name in [
        "proc/vmstat",
        "proc/zoneinfo",
        "proc/swaps",
        "proc/pressure/memory",
        "sys/kernel/mm/ksm/run",
        "sys/module/zswap/parameters/enabled",
        "sys/bus/virtio/drivers/virtio_balloon/virtio0/features",
    ] {
        let snapshot = read(&FakeKernel::full().with_unreadable(name));
        assert_eq!(snapshot.breakdown.sum(), 1000 << 20, "{name}");
    }
}

#[test]
fn pressure_that_is_turned_off_is_no_pressure_of_zero() {
    assert_eq!(
        read(&FakeKernel::full()).pressure.unwrap().some.avg10,
        Percent(1.5)
    );
    let off = FakeKernel::full().with("proc/pressure/memory", "");
    assert_eq!(read(&off).pressure, None);
    let half = FakeKernel::full().with(
        "proc/pressure/memory",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
    );
    let pressure = read(&half).pressure.unwrap();
    assert_eq!(pressure.some.total_us, 3);
    assert_eq!(pressure.full, None);
}

#[test]
fn only_initialised_zram_devices_are_listed() {
    let snapshot = read(&FakeKernel::full());
    let [device] = &snapshot.zram[..] else {
        panic!("{:?}", snapshot.zram)
    };
    assert_eq!(device.name, "zram0");
    assert_eq!(device.disk_size, Bytes::from_mib(512));
    assert_eq!(device.memory_used, Bytes::from_mib(24));
    assert_eq!(device.algorithm.as_deref(), Some("lz4"));
    assert_eq!(device.same_pages, Some(128));
    assert_eq!(device.huge_pages, Some(64));
}

#[test]
fn without_zram_its_row_is_left_out_rather_than_zero() {
    let fake = FakeKernel::full().without("sys/block/zram0");
    assert_eq!(mib(&read(&fake), RowName::ZramPool), None);
}

#[test]
fn swap_devices_are_told_apart() {
    let devices = read(&FakeKernel::full()).swap_devices;
    assert_eq!(devices[0].kind, SwapKind::Zram);
    assert_eq!(devices[1].kind, SwapKind::File);
    assert_eq!(devices[1].path.as_bytes(), b"/swap file");
}

#[test]
fn a_balloon_that_memtotal_does_not_count_is_not_attributed() {
    let features = "sys/bus/virtio/drivers/virtio_balloon/virtio0/features";
    let fake = FakeKernel::full().with(features, "0100000000\n");
    assert_eq!(mib(&read(&fake), RowName::Balloon), None);
    let gone = FakeKernel::full().without("sys/bus/virtio/drivers/virtio_balloon");
    assert_eq!(mib(&read(&gone), RowName::Balloon), None);
}

#[test]
fn ksm_reads_the_chosen_advisor_and_a_negative_profit() {
    let ksm = read(&FakeKernel::full()).ksm.unwrap();
    assert_eq!(ksm.run, Some(1));
    assert_eq!(ksm.advisor_mode.as_deref(), Some("none"));
    assert_eq!(ksm.pages_sharing, Some(Pages(4500)));
    assert_eq!(ksm.general_profit_bytes, Some(-4096));
    let old = FakeKernel::full()
        .without("sys/kernel/mm/ksm/advisor_mode")
        .without("sys/kernel/mm/ksm/general_profit");
    let ksm = read(&old).ksm.unwrap();
    assert_eq!(ksm.advisor_mode, None);
    assert_eq!(ksm.general_profit_bytes, None);
    assert_eq!(ksm.run, Some(1));
}

#[test]
fn zswap_joins_its_settings_with_meminfo() {
    let zswap = read(&FakeKernel::full()).zswap.unwrap();
    assert!(zswap.enabled);
    assert_eq!(zswap.compressor.as_deref(), Some("zstd"));
    assert_eq!(zswap.max_pool_percent, Some(20));
    assert_eq!(zswap.memory_used, Some(Bytes::from_mib(6)));
    assert_eq!(zswap.original, Some(Bytes::from_mib(18)));
}

#[test]
fn available_now_adds_the_lists_of_single_cpus() {
    let fake = FakeKernel::full();
    let mut buffer = Vec::new();
    assert_eq!(
        available_now(&open(&fake), &mut buffer).unwrap(),
        Some(Bytes::from_mib(422))
    );
    fake.remove("proc/zoneinfo");
    assert_eq!(
        available_now(&open(&fake), &mut buffer).unwrap(),
        Some(Bytes::from_mib(420))
    );
}

#[test]
fn counts_of_pages_become_bytes_with_the_given_page_size() {
    let fake = FakeKernel::full();
    let roots = Roots {
        procfs: fake.procfs(),
        ..Roots::default()
    };
    let kernel = Kernel::open_with_page_size(&roots, PageSize::new(65536).unwrap()).unwrap();
    let snapshot = read_system(&kernel, &mut Vec::new()).unwrap();
    assert_eq!(snapshot.per_cpu_free_lists, Some(Bytes::from_mib(32)));
}

#[test]
fn the_snapshot_serializes_with_its_units_in_the_names() {
    let json = serde_json::to_value(read(&FakeKernel::full())).unwrap();
    assert_eq!(json["totals"]["total_bytes"], 1000 << 20);
    assert_eq!(json["per_cpu_free_lists_bytes"], 2 << 20);
    assert_eq!(json["pressure"]["some"]["total_us"], 14_759_040);
    assert_eq!(json["meminfo"]["swap_free_bytes"], 1_490_936 * 1024);
}
