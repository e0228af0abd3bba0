//! Multiplies one row with u4 weights by the relaxed dot.
use super::{Constants, kept};
use core::arch::wasm32::*;

/// Returns the products of a row and u4 weights. With four steps an iteration the loop itself costs less, which counts where each weight is
/// used once. Even and odd steps have sums of their own, so that no chain is longer than two.
///
/// # Safety
/// 32 bytes must be readable at `a`, 128 at `w`.
#[inline(always)]
pub unsafe fn one_row(with: Constants, a: *const i8, w: *const u8) -> [v128; 2] {
    let mut sums = [[i32x4_splat(0); 2]; 2];
    let mut step = 0;
    let end = kept(8);
    while step < end {
        for i in 0..4 {
            // SAFETY: as above.
            unsafe {
                let bytes = v128_load(w.add((step + i) * 16).cast());
                let x = v128_load32_splat(a.add((step + i) * 4).cast());
                let sums = &mut sums[i % 2];
                sums[0] = i32x4_relaxed_dot_i8x16_i7x16_add(x, v128_and(bytes, with.low), sums[0]);
                sums[1] = i32x4_relaxed_dot_i8x16_i7x16_add(x, with.high(bytes), sums[1]);
            }
        }
        step += 4;
    }
    let [even, odd] = sums;
    [i32x4_add(even[0], odd[0]), i32x4_add(even[1], odd[1])]
}
