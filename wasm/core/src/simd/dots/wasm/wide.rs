//! The integer products of builds without the relaxed dot, and of engines that read it otherwise.
use super::*;

pub struct Wide;

/// Converts 4 outputs x 4 k of bytes to 2 vectors of 4 outputs x 2 k of i16.
///
/// # Safety
/// 32 bytes must be writable at `to`.
#[inline(always)]
unsafe fn widen(to: *mut u8, bytes: v128) {
    let pairs = i8x16_shuffle::<0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15>(bytes, bytes);
    // SAFETY: as above.
    unsafe {
        v128_store(to.cast(), i16x8_extend_low_i8x16(pairs));
        v128_store(to.add(16).cast(), i16x8_extend_high_i8x16(pairs));
    }
}

/// Multiplies 4 k with 4 outputs: products of adjacent pairs, then summed to one lane per output.
#[inline(always)]
fn four_outputs(x: v128, w: v128) -> v128 {
    // All 4 lanes of `x` are the same 4 k, so both halves of it are the same.
    let x = i16x8_extend_low_i8x16(x);
    let low = i32x4_dot_i16x8(x, i16x8_extend_low_i8x16(w));
    let upper = i32x4_dot_i16x8(x, i16x8_extend_high_i8x16(w));
    i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(low, upper), i32x4_shuffle::<1, 3, 5, 7>(low, upper))
}

impl Dots for Wide {
    lanes!();
    /// Shape (8 steps of 4 k, 2 groups of 4 outputs, 2 pairs of k, 4 outputs, 2 k), i16.
    const EXPANDED: usize = 512;
    const DIRECT_U4: usize = 1;

    #[inline(always)]
    unsafe fn expand_u4(with: Constants, to: *mut u8, from: *const u8) {
        for step in 0..8 {
            unsafe {
                let bytes = v128_load(from.add(step * 16).cast());
                widen(to.add(step * 64), v128_and(bytes, with.low));
                widen(to.add(step * 64 + 32), with.high(bytes));
            }
        }
    }
    #[inline(always)]
    unsafe fn expand_i8(to: *mut u8, from: *const u8, correction: *mut i32) {
        for at in 0..16 {
            unsafe { widen(to.add(at * 32), v128_load(from.add(at * 16).cast())) };
        }
        for at in 0..4 {
            unsafe { v128_store(correction.add(at * 4).cast(), i32x4_splat(0)) };
        }
    }
    #[inline(always)]
    unsafe fn dots<const R: usize>(sums: &mut [Sums<Self>; R], a: *const i8, w: *const u8, from: usize, to: usize) {
        for step in from..kept(to) {
            unsafe {
                let at = a.add(step * 4 * R);
                for first in (0..R).step_by(2) {
                    // The 4 k are those of two rows, or of the last one twice.
                    let x = if first + 1 < R {
                        i16x8_load_extend_i8x8(at.add(first * 4))
                    } else {
                        i16x8_extend_low_i8x16(v128_load32_splat(at.add(first * 4).cast()))
                    };
                    let pairs = [
                        i32x4_shuffle::<0, 0, 0, 0>(x, x),
                        i32x4_shuffle::<1, 1, 1, 1>(x, x),
                        i32x4_shuffle::<2, 2, 2, 2>(x, x),
                        i32x4_shuffle::<3, 3, 3, 3>(x, x),
                    ];
                    for (pair, x) in pairs.into_iter().enumerate() {
                        let r = first + pair / 2;
                        if r < R {
                            for group in 0..2 {
                                let at = step * 64 + group * 32 + (pair % 2) * 16;
                                let product = i32x4_dot_i16x8(x, v128_load(w.add(at).cast()));
                                sums[r][group] = i32x4_add(sums[r][group], product);
                            }
                        }
                    }
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn dots_u4<const R: usize>(with: Constants, a: *const i8, w: *const u8) -> [Sums<Self>; R] {
        let mut sums = [[i32x4_splat(0); 2]; R];
        for step in 0..kept(8) {
            unsafe {
                let bytes = v128_load(w.add(step * 16).cast());
                for (group, four) in [v128_and(bytes, with.low), with.high(bytes)].into_iter().enumerate() {
                    for r in 0..R {
                        let x = v128_load32_splat(a.add((step * R + r) * 4).cast());
                        sums[r][group] = i32x4_add(sums[r][group], four_outputs(x, four));
                    }
                }
            }
        }
        sums
    }
    #[inline(always)]
    unsafe fn dots_i8<const R: usize>(_: Constants, a: *const i8, w: *const u8) -> [Sums<Self>; R] {
        let mut sums = [[i32x4_splat(0); 2]; R];
        for step in 0..kept(8) {
            unsafe {
                for group in 0..2 {
                    let four = v128_load(w.add(step * 32 + group * 16).cast());
                    for r in 0..R {
                        let x = v128_load32_splat(a.add((step * R + r) * 4).cast());
                        sums[r][group] = i32x4_add(sums[r][group], four_outputs(x, four));
                    }
                }
            }
        }
        sums
    }
}
