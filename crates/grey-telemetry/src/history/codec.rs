//! Samples as bytes: what changed since the sample before.
//!
//! An encoder and a decoder that begin at the same sample stay in step. The
//! decoder takes any bytes: what is not a sample is `None`, and nothing in them
//! makes it hold more than a bound.

use std::collections::HashMap;
use std::hash::Hash;

use grey_model::{
    BootId, CgroupField, CgroupPath, CgroupSample, CgroupValues, GroupField, GroupKey, GroupSample,
    GroupValues, KernelText, ProcessField, ProcessId, ProcessKey, ProcessSample, ProcessValues,
    Sample, SystemField, SystemValues,
};

use super::number::{put, put_bytes, put_step, take, take_bytes, take_step};

/// The most processes, cgroups or groups that one block names; then a new one begins.
pub(super) const MOST_NAMED: usize = 1 << 16;

/// The longest name of a process, path of a cgroup, or id of a boot: a path
/// has at most 4,096 bytes.
const LONGEST_NAME: usize = 4096;

/// The most values that a thing has in any version.
const MOST_VALUES: usize = 64;

/// Before a sample: forget what was before.
const BEGINS: u64 = 1;
/// Before a sample: it is told by its difference to the one before.
const FOLLOWS: u64 = 0;

/// What a sample has behind its processes, in this order.
const HAS_CGROUPS: u64 = 1;
const HAS_GROUPS: u64 = 2;

/// What stands for each value: 0 for unknown, else one more than it.
type Codes = Vec<u64>;

fn code(value: Option<u64>) -> u64 {
    // The largest number of all is none that a kernel prints.
    value.map_or(0, |value| value.saturating_add(1))
}

fn value(code: u64) -> Option<u64> {
    code.checked_sub(1)
}

/// Appends which of `now` differ from `before`, and by what.
fn put_values(out: &mut Vec<u8>, before: &mut Codes, now: impl Iterator<Item = Option<u64>>) {
    let now: Codes = now.map(code).collect();
    before.resize(now.len(), 0);
    let changed = now.iter().zip(before.iter()).enumerate();
    let mask = changed
        .filter(|(_, (now, before))| now != before)
        .fold(0_u64, |mask, (index, _)| mask | 1 << index);
    put(out, mask);
    for (index, (now, before)) in now.iter().zip(before.iter()).enumerate() {
        if mask & (1 << index) != 0 {
            put_step(out, *before, *now);
        }
    }
    *before = now;
}

/// Takes what [`put_values`] appended. A value that this version does not know
/// is read over, and kept for the next step.
fn take_values(bytes: &mut &[u8], codes: &mut Codes) -> Option<()> {
    let mut mask = take(bytes)?;
    while mask != 0 {
        // At most MOST_VALUES - 1: a mask has so many bits.
        let index = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        if codes.len() <= index {
            codes.resize(index + 1, 0);
        }
        codes[index] = take_step(bytes, codes[index])?;
    }
    Some(())
}

fn values(codes: &Codes) -> Vec<Option<u64>> {
    codes.iter().copied().map(value).collect()
}

/// A thing that is named once and then known by a number.
trait Named: Clone + Eq + Hash {
    fn put(&self, out: &mut Vec<u8>);
    fn take(bytes: &mut &[u8]) -> Option<Self>;
}

fn put_name(out: &mut Vec<u8>, name: &KernelText, cgroup: Option<&CgroupPath>) {
    put_bytes(out, name.as_bytes());
    put_bytes(out, cgroup.map_or(&[], CgroupPath::as_bytes));
}

fn take_name(bytes: &mut &[u8]) -> Option<(KernelText, Option<CgroupPath>)> {
    let name = KernelText::from(take_bytes(bytes, LONGEST_NAME)?);
    let path = take_bytes(bytes, LONGEST_NAME)?;
    let cgroup = match path {
        [] => None,
        _ => Some(CgroupPath::new(path)?),
    };
    Some((name, cgroup))
}

impl Named for ProcessKey {
    fn put(&self, out: &mut Vec<u8>) {
        put(out, self.id.pid.into());
        put(out, self.id.start_time_ticks);
        put_name(out, &self.name, self.cgroup.as_ref());
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let id = ProcessId {
            pid: u32::try_from(take(bytes)?).ok()?,
            start_time_ticks: take(bytes)?,
        };
        let (name, cgroup) = take_name(bytes)?;
        Some(Self { id, name, cgroup })
    }
}

impl Named for GroupKey {
    fn put(&self, out: &mut Vec<u8>) {
        put_name(out, &self.name, self.cgroup.as_ref());
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (name, cgroup) = take_name(bytes)?;
        Some(Self { name, cgroup })
    }
}

impl Named for CgroupPath {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_bytes());
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Self::new(take_bytes(bytes, LONGEST_NAME)?)
    }
}

/// One kind of thing as the encoder knows it.
struct Written<K> {
    numbers: HashMap<K, usize>,
    codes: Vec<Codes>,
}

impl<K> Default for Written<K> {
    fn default() -> Self {
        Self {
            numbers: HashMap::new(),
            codes: Vec::new(),
        }
    }
}

impl<K: Named> Written<K> {
    /// Appends the names that are new, then each thing with what changed of it.
    /// What is not among them is not there any more, or not now.
    fn put<'all, V>(&mut self, out: &mut Vec<u8>, things: impl Iterator<Item = (&'all K, V)>)
    where
        K: 'all,
        V: Iterator<Item = Option<u64>>,
    {
        let (mut named, mut changes, mut count) = (Vec::new(), Vec::new(), 0);
        let mut last = 0_u64;
        let mut new_names = 0_u64;
        for (key, values) in things {
            let number = match self.numbers.get(key) {
                Some(&number) => number,
                None => {
                    key.put(&mut named);
                    new_names += 1;
                    self.codes.push(Codes::new());
                    self.numbers.insert(key.clone(), self.codes.len() - 1);
                    self.codes.len() - 1
                }
            };
            put_step(&mut changes, last, number as u64);
            last = number as u64;
            put_values(&mut changes, &mut self.codes[number], values);
            count += 1;
        }
        put(out, new_names);
        out.append(&mut named);
        put(out, count);
        out.append(&mut changes);
    }
}

/// One kind of thing as the decoder knows it.
struct Known<K> {
    things: Vec<(K, Codes)>,
}

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self { things: Vec::new() }
    }
}

impl<K: Named> Known<K> {
    /// Takes what [`Written::put`] appended: each thing and its values.
    fn take(&mut self, bytes: &mut &[u8]) -> Option<Vec<(K, Vec<Option<u64>>)>> {
        for _ in 0..take(bytes)? {
            let key = K::take(bytes)?;
            if self.things.len() >= MOST_NAMED * 2 {
                return None;
            }
            self.things.push((key, Codes::new()));
        }
        let count = usize::try_from(take(bytes)?).ok()?;
        if count > MOST_NAMED * 2 {
            return None;
        }
        let mut found = Vec::with_capacity(count.min(bytes.len()));
        let mut last = 0;
        for _ in 0..count {
            last = take_step(bytes, last)?;
            let (key, codes) = self.things.get_mut(usize::try_from(last).ok()?)?;
            take_values(bytes, codes)?;
            found.push((key.clone(), values(codes)));
        }
        Some(found)
    }
}

/// Turns samples of one boot into bytes.
#[derive(Default)]
pub(super) struct Encoder {
    has_begun: bool,
    at: u64,
    since_boot: u64,
    system: Codes,
    processes: Written<ProcessKey>,
    cgroups: Written<CgroupPath>,
    groups: Written<GroupKey>,
}

impl Encoder {
    /// Appends `sample`. The first of an encoder says that nothing before it is
    /// to be known.
    pub(super) fn put(&mut self, out: &mut Vec<u8>, sample: &Sample) {
        put(out, if self.has_begun { FOLLOWS } else { BEGINS });
        self.has_begun = true;
        put_step(out, self.at, sample.at_unix_ms);
        put_step(out, self.since_boot, sample.since_boot_ms);
        (self.at, self.since_boot) = (sample.at_unix_ms, sample.since_boot_ms);
        put_values(out, &mut self.system, sample.system.iter());
        let processes = sample.processes.iter();
        self.processes.put(
            out,
            processes.map(|process| (&process.key, process.values.iter())),
        );
        let has_cgroups = u64::from(sample.cgroups.is_some()) * HAS_CGROUPS;
        let has_groups = u64::from(sample.groups.is_some()) * HAS_GROUPS;
        put(out, has_cgroups | has_groups);
        if let Some(cgroups) = &sample.cgroups {
            let cgroups = cgroups.iter();
            self.cgroups
                .put(out, cgroups.map(|group| (&group.path, group.values.iter())));
        }
        if let Some(groups) = &sample.groups {
            let groups = groups.iter();
            self.groups
                .put(out, groups.map(|group| (&group.key, group.values.iter())));
        }
    }

    /// The same without a bound on how many are put: where too much was named,
    /// it begins anew.
    pub(super) fn put_on(&mut self, out: &mut Vec<u8>, sample: &Sample) {
        if self.is_full() {
            *self = Self::default();
        }
        self.put(out, sample);
    }

    /// Whether so much was named that a new block should begin.
    pub(super) fn is_full(&self) -> bool {
        let named = [
            self.processes.codes.len(),
            self.cgroups.codes.len(),
            self.groups.codes.len(),
        ];
        named.into_iter().any(|named| named >= MOST_NAMED)
    }
}

/// Turns the bytes back.
pub(super) struct Decoder {
    boot: BootId,
    at: u64,
    since_boot: u64,
    system: Codes,
    processes: Known<ProcessKey>,
    cgroups: Known<CgroupPath>,
    groups: Known<GroupKey>,
}

impl Decoder {
    /// A decoder of samples of `boot`.
    pub(super) fn new(boot: BootId) -> Self {
        Self {
            boot,
            at: 0,
            since_boot: 0,
            system: Codes::new(),
            processes: Known::default(),
            cgroups: Known::default(),
            groups: Known::default(),
        }
    }

    /// Takes a sample off the front of `bytes`. After a `None` the decoder is
    /// out of step and of no more use.
    pub(super) fn take(&mut self, bytes: &mut &[u8]) -> Option<Sample> {
        match take(bytes)? {
            BEGINS => *self = Self::new(self.boot.clone()),
            FOLLOWS => {}
            _ => return None,
        }
        self.at = take_step(bytes, self.at)?;
        self.since_boot = take_step(bytes, self.since_boot)?;
        take_values(bytes, &mut self.system)?;
        let processes = self.processes.take(bytes)?.into_iter();
        let has = take(bytes)?;
        if has & !(HAS_CGROUPS | HAS_GROUPS) != 0 {
            return None;
        }
        let cgroups = match has & HAS_CGROUPS {
            0 => None,
            _ => Some(self.cgroups.take(bytes)?),
        };
        let groups = match has & HAS_GROUPS {
            0 => None,
            _ => Some(self.groups.take(bytes)?),
        };
        let group = |(path, values)| CgroupSample {
            path,
            values: CgroupValues::from_values(values),
        };
        Some(Sample {
            at_unix_ms: self.at,
            since_boot_ms: self.since_boot,
            boot: self.boot.clone(),
            system: SystemValues::from_values(values(&self.system)),
            processes: processes
                .map(|(key, values)| ProcessSample {
                    key,
                    values: ProcessValues::from_values(values),
                })
                .collect(),
            cgroups: cgroups.map(|cgroups| cgroups.into_iter().map(group).collect()),
            groups: groups.map(|groups| {
                let groups = groups.into_iter();
                groups
                    .map(|(key, values)| GroupSample {
                        key,
                        values: GroupValues::from_values(values),
                    })
                    .collect()
            }),
        })
    }
}

/// The samples of `boot` in `plain`, of which some are whole in themselves, each
/// told by its difference to the one before; `None` when `plain` cannot be read.
pub(super) fn told_once(boot: &BootId, plain: &[u8]) -> Option<Vec<u8>> {
    let (mut decoder, mut encoder) = (Decoder::new(boot.clone()), Encoder::default());
    let (mut rest, mut out) = (plain, Vec::new());
    while !rest.is_empty() {
        encoder.put_on(&mut out, &decoder.take(&mut rest)?);
    }
    Some(out)
}

const _: () = {
    assert!(SystemField::ALL.len() <= MOST_VALUES);
    assert!(ProcessField::ALL.len() <= MOST_VALUES);
    assert!(CgroupField::ALL.len() <= MOST_VALUES);
    assert!(GroupField::ALL.len() <= MOST_VALUES);
};
