//! Bytes that somebody holds: given back when dropped.
//!
//! Never given back twice, and never more than was taken.

use grey_model::Bytes;

use super::component::Component;
use super::error::ReserveError;

/// Who the bytes were taken for.
#[derive(Debug)]
enum Holder<'c> {
    Borrowed(&'c Component),
    Owned(Component),
}

/// Bytes charged to a component and to its budget; released on drop.
///
/// It borrows its component, which costs nothing. [`Component::reserve_owned`]
/// and [`Reservation::into_owned`] give one that stands alone.
#[derive(Debug)]
#[must_use = "a reservation is released when it is dropped"]
pub struct Reservation<'c> {
    holder: Holder<'c>,
    bytes: u64,
}

impl<'c> Reservation<'c> {
    #[inline]
    pub(super) const fn of(component: &'c Component, bytes: u64) -> Self {
        Self {
            holder: Holder::Borrowed(component),
            bytes,
        }
    }

    /// How much it holds.
    #[inline]
    #[must_use]
    pub const fn size(&self) -> Bytes {
        Bytes(self.bytes)
    }

    /// For whom it holds.
    #[inline]
    #[must_use]
    pub const fn component(&self) -> &Component {
        match &self.holder {
            Holder::Borrowed(component) => component,
            Holder::Owned(component) => component,
        }
    }

    /// Takes `more`.
    ///
    /// # Errors
    /// [`ReserveError`]; the reservation is then as it was.
    pub fn grow(&mut self, more: Bytes) -> Result<(), ReserveError> {
        let (taken, total) = {
            let component = self.component();
            let total = self.bytes.checked_add(more.get());
            (component.reserve(more), total)
        };
        let taken = taken?;
        let Some(total) = total else {
            let component = taken.component();
            return Err(component.refused(component.exceeds(Bytes(u64::MAX))));
        };
        std::mem::forget(taken);
        self.bytes = total;
        Ok(())
    }

    /// Gives `less` back; all of it when it holds no more than that.
    pub fn shrink(&mut self, less: Bytes) {
        let less = less.get().min(self.bytes);
        self.bytes -= less;
        self.component().release(less);
    }

    /// Grows or shrinks to `size`.
    ///
    /// # Errors
    /// [`ReserveError`], when it would have to grow and cannot; it is then as
    /// it was.
    pub fn resize(&mut self, size: Bytes) -> Result<(), ReserveError> {
        if size.get() > self.bytes {
            return self.grow(Bytes(size.get() - self.bytes));
        }
        self.shrink(Bytes(self.bytes - size.get()));
        Ok(())
    }

    /// Takes `part` out of it into one of its own; all of it when it holds no
    /// more than that.
    pub fn split(&mut self, part: Bytes) -> Self {
        let part = part.get().min(self.bytes);
        self.bytes -= part;
        let holder = match &self.holder {
            Holder::Borrowed(component) => Holder::Borrowed(component),
            Holder::Owned(component) => Holder::Owned(component.clone()),
        };
        Self {
            holder,
            bytes: part,
        }
    }

    /// Puts another one of the same component into it.
    ///
    /// # Errors
    /// Gives the other one back when it is of another component.
    pub fn merge(&mut self, other: Self) -> Result<(), Self> {
        if !self.component().is_same(other.component()) {
            return Err(other);
        }
        // Both are charged to one component, whose charge is such a number.
        let Some(total) = self.bytes.checked_add(other.bytes) else {
            return Err(other);
        };
        self.bytes = total;
        other.disarm();
        Ok(())
    }

    /// One that keeps its component alive, and may go anywhere.
    pub fn into_owned(self) -> Reservation<'static> {
        let component = self.component().clone();
        let bytes = self.bytes;
        self.disarm();
        Reservation {
            holder: Holder::Owned(component),
            bytes,
        }
    }

    /// Drops it without giving its bytes back.
    fn disarm(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Reservation<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.component().release(self.bytes);
        }
    }
}
