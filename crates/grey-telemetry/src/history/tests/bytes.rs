//! Any samples become bytes and come back; any bytes are no danger.
//!
//! Never part of the product.

use proptest::prelude::*;

use super::*;
use crate::history::codec::{Decoder, Encoder};

fn any_sample() -> impl Strategy<Value = Sample> {
    let value = || prop_oneof![Just(None), (0_u64..u64::MAX).prop_map(Some)];
    let name = prop::collection::vec(any::<u8>(), 0..20);
    let process = (
        1_u32..6,
        0_u64..3,
        name,
        any::<bool>(),
        prop::collection::vec(value(), 0..5),
    );
    let group = (0_u8..5, prop::collection::vec(value(), 0..7));
    (
        any::<u64>(),
        any::<u64>(),
        prop::collection::vec(value(), 0..30),
        prop::collection::vec(process, 0..6),
        prop::option::of(prop::collection::vec(group.clone(), 0..6)),
        prop::option::of(prop::collection::vec(group, 0..6)),
    )
        .prop_map(
            |(at_unix_ms, since_boot_ms, system, processes, cgroups, groups)| Sample {
                at_unix_ms,
                since_boot_ms,
                boot: boot("any"),
                system: SystemValues::from_values(system),
                processes: processes
                    .into_iter()
                    .map(
                        |(pid, start_time_ticks, name, grouped, values)| ProcessSample {
                            key: ProcessKey {
                                id: ProcessId {
                                    pid,
                                    start_time_ticks,
                                },
                                name: KernelText(name),
                                cgroup: grouped.then(CgroupPath::root),
                            },
                            values: ProcessValues::from_values(values),
                        },
                    )
                    .collect(),
                cgroups: cgroups.map(|cgroups| {
                    cgroups
                        .into_iter()
                        .map(|(name, values)| CgroupSample {
                            path: CgroupPath::root().child(&[b'a' + name]).unwrap(),
                            values: CgroupValues::from_values(values),
                        })
                        .collect()
                }),
                groups: groups.map(|groups| {
                    groups
                        .into_iter()
                        .map(|(name, values)| GroupSample {
                            key: GroupKey {
                                name: KernelText(vec![name]),
                                cgroup: (name > 2).then(CgroupPath::root),
                            },
                            values: GroupValues::from_values(values),
                        })
                        .collect()
                }),
            },
        )
}

proptest! {
    #[test]
    fn any_samples_come_back(samples in prop::collection::vec(any_sample(), 1..8)) {
        let (mut encoder, mut bytes) = (Encoder::default(), Vec::new());
        for sample in &samples {
            encoder.put(&mut bytes, sample);
        }
        let (mut decoder, mut rest) = (Decoder::new(boot("any")), bytes.as_slice());
        for sample in &samples {
            let taken = decoder.take(&mut rest);
            prop_assert_eq!(taken.as_ref(), Some(sample));
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn no_bytes_panic_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (mut decoder, mut rest) = (Decoder::new(boot("any")), bytes.as_slice());
        while decoder.take(&mut rest).is_some() && !rest.is_empty() {}
        crate::history::tail::parse(&bytes);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("2026-01-01-00.shard"), &bytes).unwrap();
        fs::write(folder.path().join("tail"), &bytes).unwrap();
        let mut history = History::open(folder.path()).unwrap();
        prop_assert_eq!(read(&mut history), []);
    }
}
