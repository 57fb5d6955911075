//! All processes folded by name and cgroup, at the price of what is new: name and
//! cgroup of a process are read when it is first seen, and of one that had just
//! started once more the next time, as it may have executed another program or
//! been moved meanwhile.
//!
//! Never counts a process that is ending.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use grey_model::{GroupField, GroupKey, GroupSample, GroupValues};

use super::largest::{LargestProcesses, since_boot_ms};
use crate::roots::Kernel;

/// Who has run for so long, in milliseconds, has become the program that it stays.
const SETTLED_MS: u64 = 10_000;

/// Who each process is, by its serial number in the tracker.
#[derive(Debug, Default)]
pub(super) struct GroupNames {
    named: HashMap<u64, Named>,
    /// Each key once, however many processes have it.
    keys: HashSet<Arc<GroupKey>>,
}

#[derive(Debug)]
struct Named {
    key: Arc<GroupKey>,
    started: u64,
    /// Whether it had run for long when it was asked for, or was asked for twice.
    is_settled: bool,
}

/// What a group holds, in bytes.
#[derive(Debug, Default)]
struct Sum {
    processes: u64,
    anonymous: u64,
    swap: u64,
    oldest: Option<u64>,
}

impl GroupNames {
    /// Takes the key that is there already, if there is one.
    fn shared(&mut self, key: GroupKey) -> Arc<GroupKey> {
        if let Some(shared) = self.keys.get(&key) {
            return Arc::clone(shared);
        }
        let key = Arc::new(key);
        self.keys.insert(Arc::clone(&key));
        key
    }
}

impl LargestProcesses {
    /// The `most` largest groups of the processes of the last tick, by anonymous
    /// memory and swap, in the order of their keys. What of a process is in swap
    /// is that of when it was last asked for it.
    pub fn groups(&mut self, kernel: &Kernel, most: usize) -> Vec<GroupSample> {
        let mut sums: HashMap<Arc<GroupKey>, Sum> = HashMap::new();
        let mut here = HashSet::new();
        let started_ms = since_boot_ms().saturating_sub(SETTLED_MS);
        let settled = started_ms.saturating_mul(rustix::param::clock_ticks_per_second()) / 1000;
        for process in self.tracker.processes() {
            if !process.statm().has_memory() {
                continue;
            }
            let serial = process.serial();
            here.insert(serial);
            let remembered = self.remembered.get(&serial);
            let known = remembered.and_then(|remembered| remembered.known.as_ref());
            let names = &mut self.names;
            let is_settled = names.named.get(&serial).map(|named| named.is_settled);
            // Of the largest, all is known already, and anew.
            let who = match known {
                Some(known) => Some((
                    GroupKey {
                        name: known.key.name.clone(),
                        cgroup: known.key.cgroup.clone(),
                    },
                    known.key.id.start_time_ticks,
                )),
                None if is_settled == Some(true) => None,
                None => self.reader.who(kernel, process.pid),
            };
            if let Some((key, started)) = who {
                let named = Named {
                    key: names.shared(key),
                    started,
                    is_settled: is_settled.is_some() || started <= settled,
                };
                names.named.insert(serial, named);
            } else if is_settled == Some(false) {
                // It has gone meanwhile.
                names.named.remove(&serial);
            }
            let Some(named) = names.named.get(&serial) else {
                continue;
            };
            let sum = sums.entry(Arc::clone(&named.key)).or_default();
            sum.processes += 1;
            let anonymous = process.statm().anonymous().bytes(kernel.page_size);
            sum.anonymous = sum.anonymous.saturating_add(anonymous.get());
            sum.swap = sum
                .swap
                .saturating_add(remembered.map_or(0, |remembered| remembered.swap));
            let oldest = sum
                .oldest
                .map_or(named.started, |oldest| oldest.min(named.started));
            sum.oldest = Some(oldest);
        }
        self.names.named.retain(|serial, _| here.contains(serial));
        let mut largest: Vec<(Arc<GroupKey>, Sum)> = sums.into_iter().collect();
        largest.sort_by(|(one, one_sum), (other, other_sum)| {
            let size = |sum: &Sum| Reverse(sum.anonymous.saturating_add(sum.swap));
            (size(one_sum), one).cmp(&(size(other_sum), other))
        });
        largest.truncate(most);
        largest.sort_by(|(one, _), (other, _)| one.cmp(other));
        let samples = largest.iter().map(|(key, sum)| GroupSample {
            key: GroupKey::clone(key),
            values: GroupValues::default()
                .with(GroupField::Processes, Some(sum.processes))
                .with(GroupField::Anonymous, Some(sum.anonymous))
                .with(GroupField::Swap, Some(sum.swap))
                .with(GroupField::OldestStart, sum.oldest),
        });
        let samples = samples.collect();
        drop(largest);
        // Of keys that nobody has any more, one is left: that of the table.
        self.names.keys.retain(|key| Arc::strong_count(key) > 1);
        samples
    }
}
