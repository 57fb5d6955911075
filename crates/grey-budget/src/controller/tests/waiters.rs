//! Facts about those who wait for the budget while the controller closes and
//! opens it.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};

use super::*;

/// Notes whether the controller's state was free each time it was woken.
struct Woken {
    controller: Controller,
    free: Mutex<Vec<bool>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let free = self.controller.inner.state.try_lock().is_ok();
        self.free.lock().unwrap().push(free);
    }
}

#[test]
fn what_an_emergency_frees_goes_to_who_waits_when_it_eases_and_no_lock_is_held() {
    let rig = rig();
    let budget = rig.controller.budget();
    let work = budget.component("work").register().unwrap();
    let held = work.reserve(mib(1000)).unwrap();
    let woken = Arc::new(Woken {
        controller: rig.controller.clone(),
        free: Mutex::default(),
    });
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let mut waiting = pin!(work.reserve_async(mib(300)));
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert_eq!(rig.controller.tick().level, Level::Emergency);
    drop(held);
    budget.settle();
    assert_eq!(budget.reserved(), Bytes::ZERO);
    assert!(woken.free.lock().unwrap().is_empty());
    rig.clock.advance(100);
    rig.controller.tick();
    assert_eq!(budget.admission(), Admission::NoRefill);
    assert_eq!(*woken.free.lock().unwrap(), [true]);
    assert!(matches!(
        waiting.as_mut().poll(&mut context),
        Poll::Ready(Ok(_))
    ));
}
