//! Items in the order in which they came, and what they weigh.
//!
//! Never keeps a weight for each item when all weigh the same: a row of numbers
//! then takes half the memory, and half as many lines of the cache go from who
//! pushes to who pops.

use super::blocks::Blocks;
use super::ends::Slot;

#[derive(Debug)]
enum Weights {
    /// All the same, and at least 1.
    Same(u64),
    /// One each, in the order of the items.
    Each(Blocks<u64>),
}

/// Room for items: what they may weigh, what they may take of what is charged,
/// and what each takes of that beside its weight.
pub(super) struct Space {
    pub(super) bytes: u64,
    pub(super) charged: u64,
    pub(super) overhead: u64,
}

/// See above.
#[derive(Debug)]
pub(crate) struct Row<T> {
    items: Blocks<T>,
    weights: Weights,
}

impl<T> Row<T> {
    /// What an item takes beside its own size.
    pub(super) const ITEM_OVERHEAD: u64 = Blocks::<T>::OVERHEAD as u64;
    /// The same where each item keeps its weight.
    pub(super) const WEIGHED_OVERHEAD: u64 =
        Self::ITEM_OVERHEAD + (size_of::<u64>() + Blocks::<u64>::OVERHEAD) as u64;

    /// Nothing. `same` is what each item will weigh, if that is known.
    pub(super) const fn new(same: Option<u64>) -> Self {
        Self {
            items: Blocks::new(),
            weights: match same {
                Some(weight) => Weights::Same(weight),
                None => Weights::Each(Blocks::new()),
            },
        }
    }

    /// Takes all `items`, which weigh `same`, or each what `weigh` says. They are
    /// taken once all are weighed, so that one who panics leaves them there.
    pub(super) fn of(items: &mut Vec<T>, same: Option<u64>, weigh: impl Fn(&T) -> u64) -> Self {
        let weights = match same {
            Some(weight) => Weights::Same(weight),
            None => Weights::Each(Blocks::of(items.iter().map(weigh))),
        };
        Self {
            items: Blocks::of(items.drain(..)),
            weights,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    #[inline]
    pub(super) fn push(&mut self, slot: Slot<T>) {
        self.items.push(slot.item);
        if let Weights::Each(weights) = &mut self.weights {
            weights.push(slot.bytes);
        }
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Slot<T>> {
        let item = self.items.pop()?;
        let bytes = match &mut self.weights {
            Weights::Same(weight) => *weight,
            Weights::Each(weights) => weights.pop().unwrap_or(0),
        };
        Some(Slot { item, bytes })
    }

    /// Puts back what was popped last.
    pub(crate) fn put_back(&mut self, slot: Slot<T>) {
        self.items.put_back(slot.item);
        if let Weights::Each(weights) = &mut self.weights {
            weights.put_back(slot.bytes);
        }
    }

    /// How many of `most` items, from the one at `from` on, fit into `room`, and
    /// what they weigh.
    pub(super) fn fitting(&self, from: usize, most: usize, room: &Space) -> (usize, u64) {
        match &self.weights {
            Weights::Same(weight) => {
                let within = room.bytes / weight;
                let charged = room.charged / weight.saturating_add(room.overhead);
                let count = within.min(charged).min(as_u64(most));
                (usize::try_from(count).unwrap_or(most), count * weight)
            }
            Weights::Each(weights) => {
                let (mut bytes, mut charged, mut count) = (0_u64, 0_u64, 0);
                for weight in weights.iter().skip(from).take(most) {
                    bytes = match bytes.checked_add(*weight) {
                        Some(sum) if sum <= room.bytes => sum,
                        _ => break,
                    };
                    charged = charged.saturating_add(weight.saturating_add(room.overhead));
                    if charged > room.charged {
                        bytes -= weight;
                        break;
                    }
                    count += 1;
                }
                (count, bytes)
            }
        }
    }

    /// Moves the first `count` to the end of `to`, a row of the same queue.
    pub(super) fn move_front(&mut self, count: usize, to: &mut Self) {
        self.items.move_front(count, &mut to.items);
        if let (Weights::Each(from), Weights::Each(to)) = (&mut self.weights, &mut to.weights) {
            from.move_front(count, to);
        }
    }

    /// Takes the first `count` out to the end of `into`, and tells what they weigh.
    pub(super) fn drain_front(&mut self, count: usize, into: &mut Vec<T>) -> u64 {
        into.reserve(count);
        self.items.drain_front(count, |items| into.extend(items));
        match &mut self.weights {
            Weights::Same(weight) => as_u64(count).wrapping_mul(*weight),
            Weights::Each(weights) => {
                let mut bytes = 0_u64;
                weights.drain_front(count, |weights| {
                    bytes = weights.fold(bytes, u64::wrapping_add);
                });
                bytes
            }
        }
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.items.shrink_to_fit();
        if let Weights::Each(weights) = &mut self.weights {
            weights.shrink_to_fit();
        }
    }

    /// The items alone.
    pub(crate) fn take_items(&mut self) -> Blocks<T> {
        if let Weights::Each(weights) = &mut self.weights {
            *weights = Blocks::new();
        }
        std::mem::replace(&mut self.items, Blocks::new())
    }
}

pub(super) fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[cfg(not(grey_loom))]
mod tests {
    use super::*;

    const ONE_EACH: Option<u64> = None;

    fn popped(row: &mut Row<char>) -> Vec<(char, u64)> {
        std::iter::from_fn(|| row.pop())
            .map(|slot| (slot.item, slot.bytes))
            .collect()
    }

    #[test]
    fn each_item_keeps_its_weight_wherever_it_goes() {
        let weigh = |item: &char| u64::from(u32::from(*item)) - 96;
        let mut row = Row::of(&mut "abcd".chars().collect(), ONE_EACH, weigh);
        let first = row.pop().expect("there are four");
        row.put_back(first);
        let mut other = Row::new(ONE_EACH);
        row.move_front(2, &mut other);
        assert_eq!(popped(&mut other), [('a', 1), ('b', 2)]);
        other.push(Slot {
            item: 'z',
            bytes: 9,
        });
        row.move_front(2, &mut other);
        let mut taken = Vec::new();
        assert_eq!(other.drain_front(2, &mut taken), 9 + 3);
        assert_eq!(taken, ['z', 'c']);
        assert_eq!(popped(&mut other), [('d', 4)]);
    }

    #[test]
    fn where_all_weigh_the_same_none_is_asked() {
        let mut row = Row::of(&mut vec!['a', 'b', 'c'], Some(5), |_| panic!("asked"));
        let room = |bytes, charged| Space {
            bytes,
            charged,
            overhead: 2,
        };
        assert_eq!(row.fitting(0, 3, &room(14, 100)), (2, 10));
        assert_eq!(row.fitting(0, 3, &room(100, 13)), (1, 5));
        let mut taken = Vec::new();
        assert_eq!(row.drain_front(2, &mut taken), 10);
        assert_eq!(popped(&mut row), [('c', 5)]);
    }
}
