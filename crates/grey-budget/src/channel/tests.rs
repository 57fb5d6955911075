//! Facts about the channel that is bounded by bytes.

use std::thread;
use std::time::Duration;

use super::*;
use crate::budget::Budget;

fn channel(limit: u64) -> (Budget, ByteSender<Vec<u8>>, ByteReceiver<Vec<u8>>) {
    let budget = Budget::new(Bytes::from_mib(1)).unwrap();
    let component = budget.component("channel").register().unwrap();
    let weigh = |message: &Vec<u8>| Bytes(u64::try_from(message.len()).unwrap());
    let (sender, receiver) = bounded_bytes(component, Bytes(limit), weigh);
    (budget, sender, receiver)
}

#[test]
fn messages_together_weigh_no_more_than_the_limit() {
    let (_budget, sender, receiver) = channel(100);
    sender.try_send(vec![1; 60]).unwrap();
    let refused = sender.try_send(vec![2; 41]).unwrap_err();
    assert_eq!(refused.into_item(), vec![2; 41]);
    sender.try_send(vec![3; 40]).unwrap();
    assert_eq!(receiver.recv(), Ok(vec![1; 60]));
    assert_eq!(receiver.bytes(), Bytes(40));
}

#[test]
fn messages_without_weight_are_bounded_by_their_own_size() {
    let (_budget, sender, _receiver) = channel(24 * 3);
    let sent = (0..100).filter(|_| sender.try_send(Vec::new()).is_ok());
    assert_eq!(sent.count(), 3);
}

#[test]
fn what_was_sent_is_received_after_the_last_sender_is_gone() {
    let (_budget, sender, receiver) = channel(1000);
    let other = sender.clone();
    sender.send(vec![1]).unwrap();
    drop(sender);
    other.send(vec![2]).unwrap();
    drop(other);
    assert_eq!(receiver.recv(), Ok(vec![1]));
    assert_eq!(receiver.recv(), Ok(vec![2]));
    assert_eq!(receiver.recv(), Err(PopError::Closed));
}

#[test]
fn a_sender_learns_that_nobody_receives_and_nothing_stays_charged() {
    let (budget, sender, receiver) = channel(1000);
    sender.send(vec![1; 500]).unwrap();
    let other = receiver.clone();
    drop(receiver);
    sender.send(vec![1; 100]).unwrap();
    drop(other);
    assert!(matches!(
        sender.send(vec![2]),
        Err(PushError::Closed { .. })
    ));
    assert_eq!(sender.bytes(), Bytes::ZERO);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn a_sender_waits_until_enough_bytes_were_received() {
    let (_budget, sender, receiver) = channel(100);
    for _ in 0..4 {
        sender.send(vec![0; 25]).unwrap();
    }
    let full = sender.send_timeout(vec![0; 50], Duration::from_millis(5));
    assert!(matches!(full, Err(PushError::TimedOut { .. })));
    thread::scope(|scope| {
        let sending = scope.spawn(|| sender.send(vec![7; 50]));
        assert_eq!(receiver.recv().unwrap().len(), 25);
        assert_eq!(receiver.recv().unwrap().len(), 25);
        sending.join().unwrap().unwrap();
    });
    assert_eq!(receiver.bytes(), Bytes(100));
}

#[tokio::test]
async fn tasks_send_and_receive() {
    let (_budget, sender, receiver) = channel(50);
    let sending = tokio::spawn(async move {
        for number in 0..200 {
            sender.send_async(vec![number; 24]).await.unwrap();
        }
    });
    for number in 0..200 {
        assert_eq!(receiver.recv_async().await, Ok(vec![number; 24]));
    }
    sending.await.unwrap();
    assert_eq!(receiver.recv_async().await, Err(PopError::Closed));
}
