//! What holds whatever is asked for, and by however many at once.

use super::*;

#[test]
fn nothing_is_given_twice_when_many_take_and_give_at_once() {
    let budget = budget(4);
    let names = ["a", "b", "c"];
    let components = names.map(|name| component(&budget, name));
    let held = AtomicU64::new(0);
    let most = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for seed in 0..6_u64 {
            let (held, most, components) = (&held, &most, &components);
            scope.spawn(move || {
                let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                let mut mine = Vec::new();
                for _ in 0..4000 {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let size = Bytes(random % 300_000);
                    let chosen = &components[usize::try_from(random >> 40).unwrap() % 3];
                    if random.is_multiple_of(3) {
                        mine.pop().map(|reservation: Reservation<'_>| {
                            held.fetch_sub(reservation.size().get(), Ordering::SeqCst)
                        });
                    } else if let Ok(reservation) = if random.is_multiple_of(5) {
                        chosen.reserve_timeout(size, Duration::from_micros(50))
                    } else {
                        chosen.reserve(size)
                    } {
                        let now = held.fetch_add(size.get(), Ordering::SeqCst) + size.get();
                        most.fetch_max(now, Ordering::SeqCst);
                        mine.push(reservation);
                    }
                }
                for reservation in mine {
                    held.fetch_sub(reservation.size().get(), Ordering::SeqCst);
                }
            });
        }
    });
    // `held` is raised after the bytes were given and lowered before they go
    // back, or it would be a false witness.
    assert!(most.load(Ordering::SeqCst) <= 4 * MIB);
    assert_eq!(budget.reserved(), Bytes::ZERO);
    assert_eq!(budget.waiters().0, 0);
    budget.settle();
    assert_eq!(budget.committed(), Bytes::ZERO);
}

#[derive(Debug, Clone)]
enum Step {
    Reserve(usize, u64),
    Drop(usize),
    Grow(usize, u64),
    Shrink(usize, u64),
    Split(usize, u64),
    Limit(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let size = || prop_oneof![0_u64..2000, 0_u64..3_000_000];
    prop_oneof![
        4 => (0_usize..3, size()).prop_map(|(who, bytes)| Step::Reserve(who, bytes)),
        2 => (0_usize..20).prop_map(Step::Drop),
        1 => (0_usize..20, size()).prop_map(|(which, bytes)| Step::Grow(which, bytes)),
        1 => (0_usize..20, size()).prop_map(|(which, bytes)| Step::Shrink(which, bytes)),
        1 => (0_usize..20, size()).prop_map(|(which, bytes)| Step::Split(which, bytes)),
        1 => (1_000_000_u64..8_000_000).prop_map(Step::Limit),
    ]
}

proptest! {
    /// A plain sum is the model: component 0 has a floor, 1 a limit, 2 neither.
    #[test]
    fn exactly_what_fits_is_given(steps in proptest::collection::vec(step(), 1..80)) {
        const FLOOR: u64 = 600_000;
        const LIMIT: u64 = 1_500_000;
        let budget = Budget::new(Bytes(6_000_000)).unwrap();
        let components = [
            budget.component("floored").floor(Bytes(FLOOR)).register().unwrap(),
            budget.component("limited").limit(Bytes(LIMIT)).register().unwrap(),
            budget.component("plain").register().unwrap(),
        ];
        let mut limit = 6_000_000_u64;
        let mut held: Vec<(usize, Reservation<'_>)> = Vec::new();
        let sum = |held: &[(usize, Reservation<'_>)], who: usize| -> u64 {
            held.iter().filter(|(of, _)| *of == who).map(|(_, reservation)| reservation.size().get()).sum()
        };
        let fits = |held: &[(usize, Reservation<'_>)], limit: u64, who: usize, more: u64| {
            let after = |of: usize| sum(held, of) + if of == who { more } else { 0 };
            let whole = after(0).max(FLOOR) + after(1) + after(2);
            let grows = who != 0 || after(0) > FLOOR;
            (who != 1 || after(1) <= LIMIT) && (!grows || whole <= limit)
        };
        for step in steps {
            match step {
                Step::Reserve(who, bytes) => {
                    let expected = fits(&held, limit, who, bytes);
                    let given = components[who].reserve(Bytes(bytes));
                    // Nothing is always given, even when more than all is held.
                    prop_assert_eq!(given.is_ok(), expected || bytes == 0);
                    held.extend(given.ok().map(|given| (who, given)));
                }
                Step::Drop(which) if which < held.len() => drop(held.swap_remove(which)),
                Step::Grow(which, bytes) if which < held.len() => {
                    let expected = fits(&held, limit, held[which].0, bytes);
                    prop_assert_eq!(held[which].1.grow(Bytes(bytes)).is_ok(), expected || bytes == 0);
                }
                Step::Shrink(which, bytes) if which < held.len() => held[which].1.shrink(Bytes(bytes)),
                Step::Split(which, bytes) if which < held.len() => {
                    let part = held[which].1.split(Bytes(bytes));
                    let who = held[which].0;
                    held.push((who, part));
                }
                Step::Limit(bytes) => {
                    budget.set_limit(Bytes(bytes)).unwrap();
                    limit = bytes;
                }
                Step::Drop(_) | Step::Grow(..) | Step::Shrink(..) | Step::Split(..) => {}
            }
            for (who, component) in components.iter().enumerate() {
                prop_assert_eq!(component.reserved(), Bytes(sum(&held, who)));
            }
        }
        drop(held);
        prop_assert_eq!(budget.reserved(), Bytes::ZERO);
        budget.settle();
        prop_assert_eq!(budget.committed(), Bytes(FLOOR));
    }
}
