//! How much of a target is cold: what the kernel tells by itself, and what it
//! tells when it is asked to look.
//!
//! [`reading`] writes nothing; [`measure`] has marks of use taken away and looks
//! again after a window, and is only done when a window was asked for.
//! [`report`] shows either. The estimates are `grey_policy::cold`'s.

mod candidates;
pub(crate) mod measure;
pub(crate) mod reading;
pub(crate) mod report;
