//! Multiplies int8 activations with 8 outputs of integer weights, 32 k at a time; quantised GEMMs are built on it.
//!
//! Every implementation gives the same integers, so kernels give the same bits with any of them.

use super::floats::Floats;

/// Number of outputs in a panel.
pub const PANEL: usize = 8;
/// Number of k in a block of weights.
pub const BLOCK: usize = 32;

/// Two vectors of 4 sums: outputs 0..4 and 4..8 of a panel.
pub type Sums<D> = [<D as Dots>::I; 2];

pub trait Dots: 'static {
    /// Lanes in which results are accumulated.
    type Float: Floats;
    type I: Copy;
    /// Masks and factors that the loops over weights need, in registers.
    type Constants: Copy;
    /// Number of bytes of 32 k x 8 outputs in the form that `dots` needs.
    const EXPANDED: usize;
    /// Maximum number of rows for which unpacking u4 weights for each 4 rows was measured to be faster than expanding them once. At least 1.
    const DIRECT_U4: usize;
    /// The same for int8 weights with one scale a block, or a scale and a minimum.
    const DIRECT_I8: usize;

    /// Loads the constants. Call it outside of loops.
    fn constants() -> Self::Constants;
    /// Converts 8 halves to floats.
    ///
    /// # Safety
    /// 8 halves must be readable at `from`.
    unsafe fn halves(with: Self::Constants, from: *const u16) -> [<Self::Float as Floats>::F; 2];
    fn zero() -> Self::I;
    fn float(sums: Self::I) -> <Self::Float as Floats>::F;
    fn add_sums(a: Self::I, b: Self::I) -> Self::I;
    /// # Safety
    /// 4 i32 must be readable at `from`.
    unsafe fn load_sums(from: *const i32) -> Self::I;
    /// # Safety
    /// 4 i32 must be writable at `to`.
    unsafe fn store_sums(to: *mut i32, sums: Self::I);
    /// Transposes rows to columns.
    fn transpose(rows: [Self::I; 4]) -> [Self::I; 4];
    /// Turns 4 rows of 16 bytes into 16 runs of 4, one byte of each row: (4, 16) to (16, 4).
    ///
    /// # Safety
    /// 16 bytes must be readable at each of `rows`, 32 writable at each of `to`: the first 8 runs, and the others.
    unsafe fn weave(to: [*mut i8; 2], rows: [*const i8; 4]);
    /// Expands 128 bytes of nibbles (layout in lib.rs) into `to`.
    ///
    /// # Safety
    /// 128 bytes must be readable at `from`, EXPANDED writable at `to`.
    unsafe fn expand_u4(with: Self::Constants, to: *mut u8, from: *const u8);
    /// Expands 256 bytes of int8 weights into `to`, and writes the initial sums to `correction` (2 halves of 16 k, 8 outputs).
    ///
    /// # Safety
    /// 256 bytes must be readable at `from`, EXPANDED writable at `to`, 16 i32 at `correction`.
    unsafe fn expand_i8(to: *mut u8, from: *const u8, correction: *mut i32);
    /// Adds the products of k `4 * from .. 4 * to` of a block with R rows of activations, stored as (8 steps, R, 4 k).
    ///
    /// # Safety
    /// 32 R bytes must be readable at `a`, an expanded block at `w`.
    unsafe fn dots<const R: usize>(sums: &mut [Sums<Self>; R], a: *const i8, w: *const u8, from: usize, to: usize);
    /// Adds the products of all 32 k, directly from nibbles.
    ///
    /// # Safety
    /// 32 R bytes must be readable at `a`, 128 at `w`.
    unsafe fn dots_u4<const R: usize>(with: Self::Constants, a: *const i8, w: *const u8) -> [Sums<Self>; R];
    /// Adds the products of all 32 k, directly from 256 bytes of int8 weights.
    ///
    /// # Safety
    /// 32 R bytes must be readable at `a`, 256 at `w`.
    unsafe fn dots_i8<const R: usize>(with: Self::Constants, a: *const i8, w: *const u8) -> [Sums<Self>; R];
    /// Quantises 32 activations to int8: x * inverse, to the nearest, ties to even; NaN becomes 127 or -128. Returns their sum, in four parts.
    ///
    /// # Safety
    /// 32 floats must be readable at `x`, 32 bytes writable at `q`.
    unsafe fn quantize(q: *mut i8, x: *const f32, inverse: f32) -> Self::I;
}

/// Adding this to a float of less than 2^22 leaves the nearest integer, ties to even, in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;

#[cfg(not(target_arch = "wasm32"))]
impl Dots for super::floats::Scalar {
    type Float = Self;
    type I = [i32; 4];
    type Constants = ();
    const EXPANDED: usize = 256;
    const DIRECT_U4: usize = 8;
    const DIRECT_I8: usize = 2;

    fn constants() {}
    unsafe fn halves(_: (), from: *const u16) -> [[f32; 4]; 2] {
        // SAFETY: as the trait asks.
        unsafe { Self::load_f16(from) }.into()
    }
    fn zero() -> [i32; 4] {
        [0; 4]
    }
    fn float(sums: [i32; 4]) -> [f32; 4] {
        sums.map(|sum| sum as f32)
    }
    fn add_sums(a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        core::array::from_fn(|i| a[i] + b[i])
    }
    unsafe fn load_sums(from: *const i32) -> [i32; 4] {
        // SAFETY: as the trait asks.
        unsafe { from.cast::<[i32; 4]>().read_unaligned() }
    }
    unsafe fn store_sums(to: *mut i32, sums: [i32; 4]) {
        // SAFETY: as the trait asks.
        unsafe { to.cast::<[i32; 4]>().write_unaligned(sums) }
    }
    fn transpose(rows: [[i32; 4]; 4]) -> [[i32; 4]; 4] {
        core::array::from_fn(|i| core::array::from_fn(|r| rows[r][i]))
    }
    unsafe fn weave(to: [*mut i8; 2], rows: [*const i8; 4]) {
        for at in 0..16 {
            for (i, row) in rows.iter().enumerate() {
                // SAFETY: as the trait asks.
                unsafe { *to[at / 8].add(at % 8 * 4 + i) = *row.add(at) };
            }
        }
    }
    unsafe fn expand_u4(_: (), to: *mut u8, from: *const u8) {
        for step in 0..8 {
            for i in 0..16 {
                // SAFETY: as the trait asks.
                unsafe {
                    let byte = *from.add(step * 16 + i);
                    *to.add(step * 32 + i) = byte & 15;
                    *to.add(step * 32 + 16 + i) = byte >> 4;
                }
            }
        }
    }
    unsafe fn expand_i8(to: *mut u8, from: *const u8, correction: *mut i32) {
        // SAFETY: as the trait asks.
        unsafe {
            to.copy_from_nonoverlapping(from, 256);
            correction.cast::<[i32; 16]>().write_unaligned([0; 16]);
        }
    }
    unsafe fn dots<const R: usize>(sums: &mut [Sums<Self>; R], a: *const i8, w: *const u8, from: usize, to: usize) {
        for step in from..to {
            for r in 0..R {
                for output in 0..PANEL {
                    for i in 0..4 {
                        // SAFETY: as the trait asks.
                        let (x, w) = unsafe {
                            (*a.add((step * R + r) * 4 + i), *w.cast::<i8>().add(step * 32 + output * 4 + i))
                        };
                        sums[r][output / 4][output % 4] += x as i32 * w as i32;
                    }
                }
            }
        }
    }
    unsafe fn dots_u4<const R: usize>(_: (), a: *const i8, w: *const u8) -> [Sums<Self>; R] {
        let mut expanded = [0u8; 256];
        let mut sums = [[[0; 4]; 2]; R];
        // SAFETY: as the trait asks.
        unsafe {
            Self::expand_u4((), expanded.as_mut_ptr(), w);
            Self::dots::<R>(&mut sums, a, expanded.as_ptr(), 0, 8);
        }
        sums
    }
    unsafe fn dots_i8<const R: usize>(_: (), a: *const i8, w: *const u8) -> [Sums<Self>; R] {
        let mut sums = [[[0; 4]; 2]; R];
        // SAFETY: as the trait asks.
        unsafe { Self::dots::<R>(&mut sums, a, w, 0, 8) };
        sums
    }
    unsafe fn quantize(q: *mut i8, x: *const f32, inverse: f32) -> [i32; 4] {
        let mut sums = [0; 4];
        for i in 0..BLOCK {
            // SAFETY: as the trait asks.
            unsafe {
                let value = ((*x.add(i) * inverse + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
                *q.add(i) = value.clamp(-128, 127) as i8;
                sums[i % 4] += value.clamp(-128, 127);
            }
        }
        sums
    }
}

#[cfg(target_arch = "wasm32")]
pub use wasm::*;

#[cfg(target_arch = "wasm32")]
mod wasm;
