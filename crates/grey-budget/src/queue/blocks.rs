//! Things in the order in which they came, in blocks of 4 KiB: what they take
//! follows how many there are, and never grows by half of what is there.
//!
//! Never keeps more than two empty blocks, however many things there were.

use std::collections::{VecDeque, vec_deque};

use super::heap::{piece, shrink_spacious};

/// What a block takes, if its things are no larger.
const BLOCK: usize = 4 << 10;

/// In blocks, oldest first. Only where there is one block may it be empty.
#[derive(Debug)]
pub(crate) struct Blocks<S> {
    blocks: VecDeque<VecDeque<S>>,
    len: usize,
    /// An empty block, to be used again.
    spare: Option<VecDeque<S>>,
}

impl<S> Blocks<S> {
    /// How many things are in a block that is full: a power of two, so that the
    /// first, which grows as it is filled, ends with just as many.
    const FULL: usize = match size_of::<S>() {
        0 => BLOCK,
        size if size >= BLOCK => 1,
        size => 1 << (BLOCK / size).ilog2(),
    };

    /// What each takes beside its own size, rounded: its part of what a block
    /// takes.
    pub(super) const OVERHEAD: usize = {
        let things = Self::FULL * size_of::<S>();
        // The list of blocks has room for half as many more, on average.
        let block = piece(things) - things + size_of::<VecDeque<S>>() * 3 / 2;
        (block + Self::FULL / 2) / Self::FULL
    };

    pub(super) const fn new() -> Self {
        Self {
            blocks: VecDeque::new(),
            len: 0,
            spare: None,
        }
    }

    pub(super) fn of(things: impl ExactSizeIterator<Item = S>) -> Self {
        let mut blocks = Self::new();
        blocks.extend(things);
        blocks
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn push(&mut self, thing: S) {
        self.len += 1;
        match self.blocks.back_mut() {
            Some(back) if back.len() < Self::FULL => back.push_back(thing),
            _ => self.push_in_new(thing),
        }
    }

    #[cold]
    fn push_in_new(&mut self, thing: S) {
        self.back_with_room().push_back(thing);
    }

    /// The last block, or a new one if that is full.
    fn back_with_room(&mut self) -> &mut VecDeque<S> {
        let has_room = |back: &VecDeque<S>| back.len() < Self::FULL;
        if !self.blocks.back().is_some_and(has_room) {
            let block = self.empty_block();
            self.blocks.push_back(block);
        }
        self.blocks.back_mut().expect("there is one now")
    }

    /// Adds all `things`, a block at a time.
    pub(super) fn extend(&mut self, mut things: impl ExactSizeIterator<Item = S>) {
        while things.len() > 0 {
            let some = things.len();
            let added = self.add(some, |back, most| back.extend(things.by_ref().take(most)));
            self.len += added;
        }
    }

    /// Has `add` add up to `some` to the last block, and tells how many.
    fn add(&mut self, some: usize, add: impl FnOnce(&mut VecDeque<S>, usize)) -> usize {
        let back = self.back_with_room();
        let most = some.min(Self::FULL - back.len());
        let needed = back.len() + most;
        if back.capacity() < needed {
            back.reserve_exact(needed.next_power_of_two() - back.len());
        }
        add(back, most);
        most
    }

    /// The first grows as it is filled: many have few things in all.
    fn empty_block(&mut self) -> VecDeque<S> {
        let capacity = if self.blocks.is_empty() {
            0
        } else {
            Self::FULL
        };
        let spare = self.spare.take();
        spare.unwrap_or_else(|| VecDeque::with_capacity(capacity))
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<S> {
        let front = self.blocks.front_mut()?;
        let thing = front.pop_front()?;
        self.len -= 1;
        if front.is_empty() {
            self.let_front_go();
        }
        Some(thing)
    }

    /// Removes the empty block at the front, if it is not the only one.
    #[cold]
    fn let_front_go(&mut self) {
        if self.blocks.len() > 1 {
            let empty = self.blocks.pop_front();
            self.spare = self.spare.take().or(empty);
            shrink_spacious(&mut self.blocks);
        }
    }

    /// Puts back what was popped last.
    pub(super) fn put_back(&mut self, thing: S) {
        let has_room = |front: &VecDeque<S>| front.len() < Self::FULL;
        if !self.blocks.front().is_some_and(has_room) {
            let block = self.empty_block();
            self.blocks.push_front(block);
        }
        if let Some(front) = self.blocks.front_mut() {
            front.push_front(thing);
            self.len += 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &S> {
        self.blocks.iter().flatten()
    }

    /// Moves the first `count` to the end of `to`: all of them at once, without
    /// a look at each, when `to` is empty.
    pub(super) fn move_front(&mut self, count: usize, to: &mut Self) {
        if count >= self.len && to.is_empty() {
            std::mem::swap(self, to);
        } else {
            self.append_front(count, to);
        }
    }

    fn append_front(&mut self, count: usize, to: &mut Self) {
        let mut left = count.min(self.len);
        while let Some(front) = self.blocks.front_mut()
            && left > 0
        {
            let added = to.add(left.min(front.len()), |back, most| {
                if most == front.len() {
                    back.append(front);
                } else {
                    back.extend(front.drain(..most));
                }
            });
            left -= added;
            self.len -= added;
            to.len += added;
            if front.is_empty() {
                self.let_front_go();
            }
        }
    }

    /// Takes out the first `count`, a block at a time.
    pub(super) fn drain_front(
        &mut self,
        count: usize,
        mut take: impl FnMut(vec_deque::Drain<'_, S>),
    ) {
        let mut left = count.min(self.len);
        while let Some(front) = self.blocks.front_mut()
            && left > 0
        {
            let some = left.min(front.len());
            take(front.drain(..some));
            left -= some;
            self.len -= some;
            if front.is_empty() {
                self.let_front_go();
            }
        }
    }

    /// Gives back memory that nothing is in.
    pub(super) fn shrink_to_fit(&mut self) {
        self.spare = None;
        for block in &mut self.blocks {
            // Doubling ends with a full block again.
            let fitting = block.len().checked_next_power_of_two();
            let capacity = fitting.filter(|_| !block.is_empty()).unwrap_or(0);
            block.shrink_to(capacity);
        }
        self.blocks.shrink_to_fit();
    }
}

impl<S> IntoIterator for Blocks<S> {
    type Item = S;
    type IntoIter = std::iter::Flatten<vec_deque::IntoIter<VecDeque<S>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.blocks.into_iter().flatten()
    }
}

#[cfg(test)]
#[cfg(not(grey_loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Push(usize),
        Extend(usize),
        Pop(usize),
        PutBack,
        Move(usize),
        Drain(usize),
        Shrink,
    }

    fn step() -> impl Strategy<Value = Step> {
        let many = 0_usize..20;
        prop_oneof![
            many.clone().prop_map(Step::Push),
            many.clone().prop_map(Step::Extend),
            many.clone().prop_map(Step::Pop),
            Just(Step::PutBack),
            many.clone().prop_map(Step::Move),
            many.prop_map(Step::Drain),
            Just(Step::Shrink),
        ]
    }

    /// Eight of them fill a block.
    type Large = [u64; 64];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn blocks_are_a_list_whose_room_follows_what_is_there(
            steps in prop::collection::vec(step(), 0..80)
        ) {
            assert_eq!(Blocks::<Large>::FULL, 8);
            let mut number = 0;
            let (mut blocks, mut other) = (Blocks::<Large>::new(), Blocks::new());
            let (mut model, mut other_model) = (VecDeque::new(), VecDeque::new());
            for step in steps {
                match step {
                    Step::Push(count) => {
                        for _ in 0..count {
                            number += 1;
                            blocks.push([number; 64]);
                            model.push_back(number);
                        }
                    }
                    Step::Extend(count) => {
                        let numbers = number + 1..=number + count as u64;
                        blocks.extend(numbers.clone().map(|number| [number; 64]).collect::<Vec<_>>().into_iter());
                        model.extend(numbers);
                        number += count as u64;
                    }
                    Step::Pop(count) => {
                        for _ in 0..count {
                            prop_assert_eq!(blocks.pop().map(|thing| thing[0]), model.pop_front());
                        }
                    }
                    Step::PutBack => {
                        number += 1;
                        blocks.put_back([number; 64]);
                        model.push_front(number);
                    }
                    Step::Move(count) => {
                        blocks.move_front(count, &mut other);
                        let count = count.min(model.len());
                        other_model.extend(model.drain(..count));
                        std::mem::swap(&mut blocks, &mut other);
                        std::mem::swap(&mut model, &mut other_model);
                    }
                    Step::Drain(count) => {
                        let mut drained = Vec::new();
                        blocks.drain_front(count, |things| drained.extend(things.map(|thing| thing[0])));
                        let count = count.min(model.len());
                        prop_assert_eq!(drained, model.drain(..count).collect::<Vec<_>>());
                    }
                    Step::Shrink => blocks.shrink_to_fit(),
                }
                prop_assert_eq!(blocks.len(), model.len());
                prop_assert_eq!(blocks.is_empty(), model.is_empty());
                let things = blocks.iter().map(|thing| thing[0]);
                prop_assert!(things.eq(model.iter().copied()));
                // At both ends a block in part, or one that is empty, and the spare one.
                let spare = blocks.spare.iter();
                let room: usize = blocks.blocks.iter().chain(spare).map(VecDeque::capacity).sum();
                prop_assert!(room <= blocks.len() + 3 * 8, "{} for {}", room, blocks.len());
            }
        }
    }
}
