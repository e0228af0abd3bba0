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

/// Products of 4 k with 8 outputs, by row: 2 groups of 4 outputs, 2 outputs a vector, each in two lanes of 2 k.
type Halves<const R: usize> = [[[v128; 2]; 2]; R];

/// Multiplies all 32 k of R rows, one or two, with 8 outputs. `a` is the first of them, and their steps are `stride` bytes apart; `weights`
/// gives 4 k of 8 outputs in i16, a vector for each 2 outputs. Lanes of an output are added up at the end alone.
///
/// # Safety
/// 4 R bytes must be readable at each step of `a`, and 8 with two rows; `weights` must have 8 steps.
#[inline(always)]
unsafe fn rows<const R: usize>(
    a: *const i8,
    stride: usize,
    weights: impl Fn(usize) -> [[v128; 2]; 2],
) -> [Sums<Wide>; R] {
    let mut sums: Halves<R> = [[[i32x4_splat(0); 2]; 2]; R];
    for step in 0..kept(8) {
        // SAFETY: as above.
        let x = unsafe {
            let at = a.add(step * stride);
            if R == 1 { i16x8_extend_low_i8x16(v128_load32_splat(at.cast())) } else { i16x8_load_extend_i8x8(at) }
        };
        let x = [if R == 1 { x } else { i64x2_shuffle::<0, 0>(x, x) }, i64x2_shuffle::<1, 1>(x, x)];
        let weights = weights(step);
        for r in 0..R {
            for group in 0..2 {
                for half in 0..2 {
                    let product = i32x4_dot_i16x8(x[r], weights[group][half]);
                    sums[r][group][half] = i32x4_add(sums[r][group][half], product);
                }
            }
        }
    }
    sums.map(|sums| {
        sums.map(|[low, upper]| {
            i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(low, upper), i32x4_shuffle::<1, 3, 5, 7>(low, upper))
        })
    })
}

/// The same for up to four rows, two at a time: with more sums than eight, engines spill them.
///
/// # Safety
/// 32 R bytes must be readable at `a`, as (8 steps, R, 4 k).
#[inline(always)]
unsafe fn few_rows<const R: usize>(a: *const i8, weights: impl Fn(usize) -> [[v128; 2]; 2]) -> [Sums<Wide>; R] {
    let mut sums = [[i32x4_splat(0); 2]; R];
    // SAFETY: as above.
    unsafe {
        if R >= 2 {
            let pair = rows::<2>(a, 4 * R, &weights);
            sums[..2].copy_from_slice(&pair);
        }
        if R == 4 {
            let pair = rows::<2>(a.add(8), 4 * R, &weights);
            sums[2..].copy_from_slice(&pair);
        }
        if R % 2 == 1 {
            let [last] = rows::<1>(a.add(4 * (R - 1)), 4 * R, &weights);
            sums[R - 1] = last;
        }
    }
    sums
}

impl Dots for Wide {
    lanes!();
    /// Shape (8 steps of 4 k, 2 groups of 4 outputs, 2 pairs of k, 4 outputs, 2 k), i16.
    const EXPANDED: usize = 512;
    const DIRECT_U4: usize = 4;
    const DIRECT_I8: usize = 16;

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
        unsafe {
            few_rows(a, |step| {
                let bytes = v128_load(w.add(step * 16).cast());
                [v128_and(bytes, with.low), with.high(bytes)]
                    .map(|four| [i16x8_extend_low_i8x16(four), i16x8_extend_high_i8x16(four)])
            })
        }
    }
    #[inline(always)]
    unsafe fn dots_i8<const R: usize>(_: Constants, a: *const i8, w: *const u8) -> [Sums<Self>; R] {
        unsafe {
            few_rows(a, |step| {
                let two = |at: usize| i16x8_load_extend_i8x8(w.add(step * 32 + at).cast());
                [[two(0), two(8)], [two(16), two(24)]]
            })
        }
    }
}
