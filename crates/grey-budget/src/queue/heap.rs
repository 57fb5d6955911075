//! What things take of the heap beyond their own size, and lists that take no
//! more of it than they need.
//!
//! Never asks the allocator: what a piece takes is what glibc's makes of it;
//! others are within a few bytes of that.

use std::collections::VecDeque;

/// With so much room a list is left as it is.
const SMALL: usize = 64;

/// What a piece of `bytes` takes: 8 before it, in steps of 16, 32 at least.
pub(crate) const fn piece(bytes: usize) -> usize {
    let with_header = (bytes + 8).next_multiple_of(16);
    if bytes == 0 {
        0
    } else if with_header < 32 {
        32
    } else {
        with_header
    }
}

/// What something in an `Arc` takes.
pub(crate) const fn shared_piece(bytes: usize) -> usize {
    piece(2 * size_of::<usize>() + bytes)
}

/// What a place takes in a list of things of `bytes`: a third more than that,
/// because just after it doubled half of the list is room.
pub(crate) const fn place_in_list(bytes: usize) -> usize {
    bytes + bytes / 3
}

/// Makes room for one more in a list that shall have no more than `most`: it
/// doubles, but not beyond that.
#[inline]
pub(crate) fn make_room_in<T>(list: &mut VecDeque<T>, most: usize) {
    let length = list.len();
    if length == list.capacity() {
        let more = match most.saturating_sub(length) {
            0 => length / 8 + 1,
            to_most => length.max(4).min(to_most),
        };
        list.reserve_exact(more);
    }
}

/// Gives back most of the room, if the list has far more than it needs.
#[inline]
pub(crate) fn shrink_spacious<T>(list: &mut VecDeque<T>) {
    if list.capacity() > SMALL && list.capacity() / 4 > list.len() {
        list.shrink_to(2 * list.len());
    }
}
