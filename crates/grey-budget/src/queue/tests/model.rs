//! A queue beside its model: a list that refuses above its limits.
//!
//! Never more than one thread.

use std::collections::VecDeque;

use grey_model::Bytes;
use proptest::prelude::*;

use super::kit::component;
use crate::queue::{FullPolicy, WorkQueue};
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimer, Stop};

#[derive(Debug, Clone)]
enum Step {
    Push(u64),
    PushMany(Vec<u64>),
    Pop,
    PopMany(usize),
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_u64..60).prop_map(Step::Push),
        prop::collection::vec(1_u64..60, 0..8).prop_map(Step::PushMany),
        Just(Step::Pop),
        (0_usize..6).prop_map(Step::PopMany),
        Just(Step::Trim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_is_a_list_that_refuses_above_its_limits(
        steps in prop::collection::vec(step(), 0..120)
    ) {
        let (budget, component) = component(Bytes::from_mib(1));
        let queue = WorkQueue::builder(component)
            .max_items(8)
            .max_bytes(Bytes(150))
            .weigher(|weight: &u64| Bytes(*weight))
            .when_full(FullPolicy::Reject)
            .build();
        let mut model: VecDeque<u64> = VecDeque::new();
        // An item weighs its own size at least.
        let weigh = |weight: &u64| (*weight).max(8);
        let fits = |model: &VecDeque<u64>, item: u64| {
            model.len() < 8 && model.iter().map(weigh).sum::<u64>() + weigh(&item) <= 150
        };
        let each = WorkQueue::<u64>::WEIGHED_ITEM_OVERHEAD.get();
        let charge = |queue: &WorkQueue<u64>| Bytes(queue.bytes().get() + queue.len() * each);
        for step in steps {
            match step {
                Step::Push(item) => {
                    let fits = fits(&model, item);
                    prop_assert_eq!(queue.push(item).is_ok(), fits);
                    if fits {
                        model.push_back(item);
                    }
                }
                Step::PushMany(items) => {
                    let mut left = items.clone();
                    let all = queue.push_many(&mut left).is_ok();
                    let mut expected = VecDeque::from(items);
                    while expected.front().is_some_and(|item| fits(&model, *item)) {
                        model.extend(expected.pop_front());
                    }
                    prop_assert_eq!(all, expected.is_empty());
                    prop_assert_eq!(VecDeque::from(left), expected);
                }
                Step::Pop => {
                    prop_assert_eq!(queue.try_pop().ok(), model.pop_front());
                }
                Step::PopMany(most) => {
                    let mut popped = Vec::new();
                    while popped.len() < most {
                        let left = most - popped.len();
                        if queue.try_pop_many(&mut popped, left) == 0 {
                            break;
                        }
                    }
                    let most = most.min(model.len());
                    prop_assert_eq!(popped, model.drain(..most).collect::<Vec<_>>());
                }
                Step::Trim => {
                    let request = ReclaimRequest::new(Bytes(1), ReclaimMode::Trim);
                    queue.reclaim(&request, &Stop::new());
                    prop_assert_eq!(budget.reserved(), charge(&queue));
                }
            }
            prop_assert_eq!(queue.len(), u64::try_from(model.len()).unwrap());
            prop_assert_eq!(queue.bytes(), Bytes(model.iter().map(weigh).sum()));
            prop_assert!(budget.reserved() >= charge(&queue));
        }
        drop(queue);
        prop_assert_eq!(budget.reserved(), Bytes::ZERO);
    }
}
