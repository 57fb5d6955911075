//! Bringing back what was spilled once memory is free again: how much, until
//! when, and what came of it.
//!
//! Never loads anything itself: the parts of the program that spilled do, and
//! ask a [`LoadBackRation`] before each piece and each value.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use grey_model::{Bytes, Priority};

/// The most that is loaded back before it is asked again whether it still may.
pub const LOAD_BACK_SLICE: Bytes = Bytes(4 << 20);

/// The longest rest after a slice.
const LONGEST_REST: Duration = Duration::from_millis(100);

/// Why loading back ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoadBackEnd {
    /// Everything was offered; what could not be placed stayed on disk.
    #[default]
    Done,
    /// No more would fit below the headroom.
    NoRoom,
    /// The level is not normal, or was not for a while.
    Pressure,
    /// The program shuts down, nobody watches any more, or memory is short
    /// around it.
    Stopped,
    /// It was at it for long enough, and goes on in a moment.
    TimeOver,
    /// Loading back is under way already.
    Busy,
    /// A part of the program panicked, did not come back in time, or had loaded
    /// nothing when its time was over. The others did what they could; it is
    /// asked again later.
    Failed,
}

/// What was loaded back of one priority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadBackCount {
    /// Values.
    pub values: u64,
    /// What they weigh in memory.
    pub bytes: Bytes,
}

/// What was loaded back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadBackReport {
    /// By priority, the lowest first: see [`Self::of`].
    pub by_priority: [LoadBackCount; Priority::ALL.len()],
    /// Values that could not be read or decoded. They stay where they are.
    pub damaged: u64,
    /// Records whose keys the codec could not decode: another's, or damaged.
    pub unknown_keys: u64,
    /// Values that found no room and stay on disk.
    pub left: u64,
    /// Why it ended.
    pub end: LoadBackEnd,
}

impl LoadBackReport {
    /// What was loaded back of `priority`.
    #[must_use]
    pub fn of(&self, priority: Priority) -> LoadBackCount {
        self.by_priority[priority.index()]
    }

    /// Values of all priorities.
    #[must_use]
    pub fn values(&self) -> u64 {
        self.by_priority.iter().map(|count| count.values).sum()
    }

    /// What they weigh in memory.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.by_priority.iter().map(|count| count.bytes).sum()
    }

    /// Counts a value that is in memory again.
    pub fn count(&mut self, priority: Priority, weight: Bytes) {
        let count = &mut self.by_priority[priority.index()];
        count.values += 1;
        count.bytes = count.bytes.saturating_add(weight);
    }

    /// Adds what another call did; the end is that of the other.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.by_priority.iter_mut().zip(other.by_priority) {
            count.values = count.values.saturating_add(more.values);
            count.bytes = count.bytes.saturating_add(more.bytes);
        }
        self.damaged = self.damaged.saturating_add(other.damaged);
        self.unknown_keys = self.unknown_keys.saturating_add(other.unknown_keys);
        self.left = self.left.saturating_add(other.left);
        self.end = other.end;
    }
}

/// Tells how many bytes may be loaded now, or why none.
pub(crate) type Judge = dyn Fn() -> Result<Bytes, LoadBackEnd> + Send + Sync;

#[derive(Debug, Default)]
struct Slice {
    /// Bytes that may still be taken of it.
    left: Bytes,
    /// Bytes that were taken of all slices.
    taken: Bytes,
    began: Option<Instant>,
    was_refused: bool,
    end: Option<LoadBackEnd>,
}

/// How much a reclaimer may load back, slice by slice. Whoever gives it may end
/// it at any time.
pub struct LoadBackRation {
    judge: Option<Box<Judge>>,
    limit: Bytes,
    until: Option<Instant>,
    rests: bool,
    is_over: AtomicBool,
    slice: Mutex<Slice>,
    woken: Condvar,
}

impl fmt::Debug for LoadBackRation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LoadBackRation")
            .field("limit", &self.limit)
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}

impl LoadBackRation {
    /// So many bytes, whatever the level is: for a program without a controller.
    #[must_use]
    pub const fn of(limit: Bytes) -> Self {
        Self {
            judge: None,
            limit,
            until: None,
            rests: false,
            is_over: AtomicBool::new(false),
            slice: Mutex::new(Slice {
                left: Bytes::ZERO,
                taken: Bytes::ZERO,
                began: None,
                was_refused: false,
                end: None,
            }),
            woken: Condvar::new(),
        }
    }

    /// As much as `judge` says at each slice, until `until`. One that `rests`
    /// does so after each slice for as long as the slice took, so that the disk
    /// is free for others half of the time.
    pub(crate) fn judged(judge: Box<Judge>, until: Instant, rests: bool) -> Self {
        Self {
            judge: Some(judge),
            until: Some(until),
            rests,
            ..Self::of(Bytes(u64::MAX))
        }
    }

    fn slice(&self) -> MutexGuard<'_, Slice> {
        self.slice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a slice: how many bytes may be loaded before this is asked again.
    /// None when it is over.
    pub fn next_slice(&self) -> Bytes {
        self.rest();
        if self.is_over() {
            return Bytes::ZERO;
        }
        // The judge reads the process: not under the lock.
        let judged = match &self.judge {
            Some(judge) => judge(),
            None => Ok(self.limit),
        };
        let mut slice = self.slice();
        let room = judged.map(|room| room.min(self.limit.saturating_sub(slice.taken)));
        match room {
            Ok(room) if room > Bytes::ZERO => {
                slice.left = room;
                slice.began = Some(Instant::now());
                room
            }
            Ok(_) => {
                drop(slice);
                self.finish(LoadBackEnd::NoRoom);
                Bytes::ZERO
            }
            Err(end) => {
                drop(slice);
                self.finish(end);
                Bytes::ZERO
            }
        }
    }

    /// Takes `bytes` of the slice. `false`, and nothing is taken, when so much
    /// is not left or it is over.
    #[must_use]
    pub fn take(&self, bytes: Bytes) -> bool {
        if self.is_over() {
            return false;
        }
        let mut slice = self.slice();
        if bytes > slice.left {
            slice.was_refused = true;
            return false;
        }
        slice.left = slice.left.saturating_sub(bytes);
        slice.taken = slice.taken.saturating_add(bytes);
        true
    }

    /// Notes that a value was not even read because it is larger than the slice.
    pub fn note_too_large(&self) {
        self.slice().was_refused = true;
    }

    /// Whether whoever loads should stop at once: it was ended, or its time is
    /// over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        if self.is_over.load(Ordering::Acquire) {
            return true;
        }
        let is_late = self.until.is_some_and(|until| Instant::now() >= until);
        if is_late {
            self.finish(LoadBackEnd::TimeOver);
        }
        is_late
    }

    /// Why it is over.
    #[must_use]
    pub fn end(&self) -> Option<LoadBackEnd> {
        self.slice().end
    }

    /// Whether anything did not fit.
    pub(crate) fn was_refused(&self) -> bool {
        self.slice().was_refused
    }

    /// Ends it. The first reason stays.
    pub(crate) fn finish(&self, end: LoadBackEnd) {
        self.slice().end.get_or_insert(end);
        self.is_over.store(true, Ordering::Release);
        self.woken.notify_all();
    }

    /// Rests after a slice, unless it is over.
    fn rest(&self) {
        let mut slice = self.slice();
        let Some(began) = slice.began.take().filter(|_| self.rests) else {
            return;
        };
        let until = Instant::now() + began.elapsed().min(LONGEST_REST);
        while slice.end.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.woken.wait_timeout(slice, left);
            slice = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ration_gives_no_more_than_its_limit() {
        let ration = LoadBackRation::of(Bytes(100));
        assert_eq!(ration.next_slice(), Bytes(100));
        assert!(ration.take(Bytes(60)));
        assert!(!ration.take(Bytes(41)));
        assert!(ration.was_refused());
        assert_eq!(ration.next_slice(), Bytes(40));
        assert!(ration.take(Bytes(40)));
        assert_eq!(ration.next_slice(), Bytes::ZERO);
        assert_eq!(ration.end(), Some(LoadBackEnd::NoRoom));
    }

    #[test]
    fn nothing_is_taken_before_a_slice_begins_or_after_the_end() {
        let ration = LoadBackRation::of(Bytes(100));
        assert!(!ration.take(Bytes(1)));
        assert_eq!(ration.next_slice(), Bytes(100));
        ration.finish(LoadBackEnd::Pressure);
        ration.finish(LoadBackEnd::Stopped);
        assert!(!ration.take(Bytes(1)));
        assert_eq!(ration.next_slice(), Bytes::ZERO);
        assert_eq!(ration.end(), Some(LoadBackEnd::Pressure));
    }

    #[test]
    fn each_slice_is_judged_anew() {
        let rooms = Mutex::new(vec![Err(LoadBackEnd::Pressure), Ok(Bytes(3)), Ok(Bytes(9))]);
        let judge = move || rooms.lock().unwrap().pop().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        let ration = LoadBackRation::judged(Box::new(judge), until, false);
        assert_eq!(ration.next_slice(), Bytes(9));
        assert_eq!(ration.next_slice(), Bytes(3));
        assert_eq!(ration.next_slice(), Bytes::ZERO);
        assert_eq!(ration.end(), Some(LoadBackEnd::Pressure));
    }

    #[test]
    fn a_ration_whose_time_is_over_says_so() {
        let ration = LoadBackRation::judged(Box::new(|| Ok(Bytes(9))), Instant::now(), false);
        assert_eq!(ration.next_slice(), Bytes::ZERO);
        assert_eq!(ration.end(), Some(LoadBackEnd::TimeOver));
    }

    #[test]
    fn a_ration_whose_time_is_over_in_the_middle_of_a_slice_gives_no_more_of_it() {
        let until = Instant::now() + Duration::from_millis(20);
        let ration = LoadBackRation::judged(Box::new(|| Ok(Bytes(9))), until, false);
        assert_eq!(ration.next_slice(), Bytes(9));
        assert!(ration.take(Bytes(1)));
        crate::wait_until::wait_until(|| Instant::now() >= until);
        assert!(!ration.take(Bytes(1)));
        assert!(ration.is_over());
        assert_eq!(ration.end(), Some(LoadBackEnd::TimeOver));
    }

    #[test]
    fn reports_add_up_by_priority_and_the_last_end_stays() {
        let mut one = LoadBackReport::default();
        one.count(Priority::High, Bytes(5));
        let mut other = LoadBackReport::default();
        other.count(Priority::High, Bytes(7));
        other.count(Priority::Low, Bytes(1));
        other.left = 2;
        other.end = LoadBackEnd::NoRoom;
        one.add(&other);
        assert_eq!(
            one.of(Priority::High),
            LoadBackCount {
                values: 2,
                bytes: Bytes(12)
            }
        );
        assert_eq!((one.values(), one.bytes(), one.left), (3, Bytes(13), 2));
        assert_eq!(one.end, LoadBackEnd::NoRoom);
    }
}
