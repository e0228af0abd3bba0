//! f32 activations to int8, one scale per 32:
//!
//!     s = max |x| / 127;  q = round(x / s);  sum = s * (sum of q)
use crate::simd::dots::{BLOCK, Dots};
use crate::simd::floats::Floats;

/// A unit is a row.
pub struct Args {
    /// (rows, k)
    pub q: *mut i8,
    /// (rows, k / 32)
    pub s: *mut f32,
    /// (rows, k / 32)
    pub sums: *mut f32,
    /// (rows, k), `x_stride` apart
    pub x: *const f32,
    pub x_stride: usize,
    pub k: usize,
}

/// # Safety
/// Rows `lo..hi` are as described; k is a multiple of 32.
pub unsafe fn body<D: Dots>(args: &Args, lo: usize, hi: usize, _: *mut u8) {
    let blocks = args.k / BLOCK;
    for row in lo..hi {
        for block in 0..blocks {
            // SAFETY: as for this function.
            unsafe {
                let x = args.x.add(row * args.x_stride + block * BLOCK);
                let mut most = D::Float::splat(0.0);
                for i in 0..8 {
                    let four = D::Float::load(x.add(4 * i));
                    most = D::Float::pmax(most, D::Float::abs(four));
                }
                let most = D::Float::largest(most);
                let scale = most / 127.0;
                let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
                let sum = D::quantize(args.q.add(row * args.k + block * BLOCK), x, inverse);
                *args.s.add(row * blocks + block) = scale;
                *args.sums.add(row * blocks + block) = scale * sum as f32;
            }
        }
    }
}
