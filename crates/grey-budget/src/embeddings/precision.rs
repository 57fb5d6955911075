//! How exactly vectors are kept.
//!
//! Never touches a vector: `block` rounds.

/// How exactly vectors are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// As they are; 4 bytes a number.
    #[default]
    F32,
    /// Half precision; 2 bytes a number. An error of at most 1/2048 of each
    /// number, or 2^-25 for the smallest.
    F16,
    /// 1 byte a number and one scale for each vector. An error of at most
    /// 1/254 of the vector's largest number.
    Int8,
}

/// The largest finite `f16`.
pub(super) const F16_MAX: f32 = 65504.0;
