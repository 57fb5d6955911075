//! Sixty-four vectors side by side, in one precision.
//!
//! Never allocates after it is made, and never knows whose a vector is.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::precision::Precision;

/// Vectors of a block.
pub(super) const BLOCK: usize = 64;

/// Sixty-four vectors.
#[derive(Debug)]
pub(super) enum Block {
    F32(Box<[f32]>),
    F16(Box<[f16]>),
    Int8(Box<[i8]>, Box<[f32; BLOCK]>),
}

impl Block {
    pub(super) fn new(precision: Precision, dimensions: usize) -> Self {
        let numbers = BLOCK * dimensions;
        match precision {
            Precision::F32 => Self::F32(vec![0.0; numbers].into()),
            Precision::F16 => Self::F16(vec![f16::ZERO; numbers].into()),
            Precision::Int8 => Self::Int8(vec![0; numbers].into(), Box::new([0.0; BLOCK])),
        }
    }

    pub(super) fn write(&mut self, place: usize, vector: &[f32]) {
        let from = place * vector.len();
        let range = from..from + vector.len();
        match self {
            Self::F32(numbers) => numbers[range].copy_from_slice(vector),
            Self::F16(numbers) => numbers[range].convert_from_f32_slice(vector),
            Self::Int8(numbers, scales) => {
                let largest = vector
                    .iter()
                    .fold(0.0_f32, |most, number| most.max(number.abs()));
                // Divided first: the scale of the smallest numbers is not 0.
                scales[place] = largest;
                for (kept, number) in numbers[range].iter_mut().zip(vector) {
                    *kept = quantize(*number, largest);
                }
            }
        }
    }

    pub(super) fn read(&self, place: usize, out: &mut [f32]) {
        let from = place * out.len();
        let range = from..from + out.len();
        match self {
            Self::F32(numbers) => out.copy_from_slice(&numbers[range]),
            Self::F16(numbers) => numbers[range].convert_to_f32_slice(out),
            Self::Int8(numbers, scales) => {
                let scale = f64::from(scales[place]) / 127.0;
                for (number, kept) in out.iter_mut().zip(&numbers[range]) {
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "at most as large as the scale, which is an f32"
                    )]
                    let value = (f64::from(*kept) * scale) as f32;
                    *number = value;
                }
            }
        }
    }
}

/// The nearest of 255 steps between `-largest` and `largest`.
fn quantize(number: f32, largest: f32) -> i8 {
    if largest <= 0.0 {
        return 0;
    }
    let step = (f64::from(number) / f64::from(largest) * 127.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "between -127 and 127, since no number is larger than the largest"
    )]
    let step = step as i8;
    step
}
