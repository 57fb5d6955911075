//! Tests of `ring.rs`: the ring keeps the newest, and the reader reads what the
//! kernel says now.
//!
//! Never part of the product.

use grey_fake_kernel::FakeKernel;

use super::*;
use crate::history::{Alarm, DumpReason};
use crate::roots::Roots;

fn values(number: u64) -> SystemValues {
    SystemValues::default().with(SystemField::Free, Some(number))
}

fn free(ring: &Ring) -> Vec<u64> {
    let samples = ring.samples(&BootId("one".to_owned()));
    let free = samples
        .iter()
        .map(|sample| sample.system.get(SystemField::Free));
    free.map(Option::unwrap).collect()
}

#[test]
fn the_newest_replace_the_oldest() {
    let mut ring = Ring::new(4);
    assert!(free(&ring).is_empty());
    for number in 0..11 {
        ring.push_at(0, number * 100, &values(number));
        let first = (number + 1).saturating_sub(4);
        assert_eq!(free(&ring), (first..=number).collect::<Vec<_>>());
    }
    assert_eq!(ring.newest(SystemField::Free), Some((10, 1000)));
    assert_eq!(ring.newest(SystemField::Used), None);
    assert_eq!(ring.oldest_since(SystemField::Free, 850), Some((9, 900)));
    assert_eq!(ring.oldest_since(SystemField::Free, 0), Some((7, 700)));
}

fn open_fake(fake: &FakeKernel) -> Kernel {
    Kernel::open(&Roots {
        procfs: fake.procfs().to_owned(),
        sysfs: fake.sysfs().to_owned(),
        cgroupfs: fake.cgroupfs().to_owned(),
        systemd: fake.systemd().to_owned(),
    })
    .unwrap()
}

#[test]
fn a_reading_has_what_the_kernel_says_now() {
    let fake = FakeKernel::full();
    let kernel = open_fake(&fake);
    let mut reader = RingReader::new(&kernel).unwrap();
    let first = reader.read();
    assert!(first.get(SystemField::Available).is_some());
    assert!(first.get(SystemField::PressureSome).is_some());
    assert!(first.get(SystemField::OomKills).is_some());
    fake.write("proc/meminfo", "MemTotal: 4000 kB\nMemFree: 8 kB\n");
    let second = reader.read();
    assert_eq!(second.get(SystemField::Free), Some(8 << 10));
    assert_eq!(second.get(SystemField::Available), None);
}

#[test]
fn the_counters_of_reclaim_are_read_at_once_when_somebody_stalls() {
    let fake = FakeKernel::full();
    let kernel = open_fake(&fake);
    let mut reader = RingReader::new(&kernel).unwrap();
    let knows = |values: SystemValues| values.get(SystemField::OomKills).is_some();
    assert!(knows(reader.read()));
    assert_eq!((0..4).filter(|_| knows(reader.read())).count(), 0);
    fake.write(
        "proc/pressure/memory",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=99000000\n",
    );
    let values = reader.read();
    assert_eq!(values.get(SystemField::PressureSome), Some(99_000_000));
    assert!(knows(values));
    assert_eq!((0..10).filter(|_| knows(reader.read())).count(), 2);
}

#[test]
fn a_kill_on_a_kernel_rings_the_alarm() {
    let fake = FakeKernel::full();
    fake.write("proc/vmstat", "oom_kill 3\n");
    let kernel = open_fake(&fake);
    let (mut reader, mut ring) = (RingReader::new(&kernel).unwrap(), Ring::new(RING_LENGTH));
    let mut alarm = Alarm::default();
    let mut judged = Vec::new();
    for round in 0..20 {
        if round == 7 {
            fake.write("proc/vmstat", "oom_kill 4\n");
        }
        ring.push(&reader.read());
        judged.extend(alarm.judge(&ring));
    }
    assert_eq!(judged, [DumpReason::OomKill]);
}

#[test]
fn a_kernel_without_pressure_and_vmstat_has_what_it_has() {
    let fake = FakeKernel::full();
    fake.remove("proc/vmstat");
    fake.remove("proc/pressure/memory");
    let mut reader = RingReader::new(&open_fake(&fake)).unwrap();
    let values = reader.read();
    assert_eq!(values.get(SystemField::PressureSome), None);
    assert!(values.get(SystemField::Free).is_some());
}
