//! Computes the integer products in v128, in five ways with one result:
//!
//! | type | needs | second operand of the product |
//! |---|---|---|
//! | `Relaxed` | relaxed dot | weights in 0..127: u4, where every lowering is exact |
//! | `Unsigned` | an engine that reads it as unsigned | activations + 128; sums begin at -128 * sum of weights |
//! | `Signed` | an engine that reads it as signed | activations |
//! | `Narrow` | relaxed dot | weights in 0..15; pairs of products are added up in i16, which 32 k cannot overflow |
//! | `Wide` | nothing | activations in i16, weights in i16 |
//!
//! `Relaxed` is the fastest where the engine has one instruction for it; where it has not (x86 without VNNI: three
//! instructions), `Narrow` needs two.
use super::{Dots, Sums};
use crate::simd::floats::Wasm;
use core::arch::wasm32::*;
#[cfg(target_feature = "relaxed-simd")]
use one_row::one_row;

#[cfg(target_feature = "relaxed-simd")]
mod one_row;

/// # Safety
/// 32 floats must be readable at `x`, 32 bytes writable at `q`.
#[inline(always)]
unsafe fn quantize(q: *mut i8, x: *const f32, inverse: f32) -> v128 {
    // Adding 1.5 * 2^23 leaves the nearest integer, ties to even, in the low bits: cheaper than rounding and converting.
    let round = f32x4_splat(core::hint::black_box(super::ROUND));
    let inverse = f32x4_splat(inverse);
    let mut sum = i32x4_splat(0);
    for half in 0..2 {
        // SAFETY: as above.
        unsafe {
            let four = |i: usize| {
                let x = f32x4_mul(v128_load(x.add(half * 16 + i * 4).cast()), inverse);
                i32x4_sub(f32x4_add(x, round), round)
            };
            let low = i16x8_narrow_i32x4(four(0), four(1));
            let high = i16x8_narrow_i32x4(four(2), four(3));
            let bytes = i8x16_narrow_i16x8(low, high);
            v128_store(q.add(half * 16).cast(), bytes);
            sum = i32x4_add(sum, i32x4_extadd_pairwise_i16x8(i16x8_extadd_pairwise_i8x16(bytes)));
        }
    }
    sum
}

/// Does what `Dots::weave` says.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn weave(to: [*mut i8; 2], rows: [*const i8; 4]) {
    // SAFETY: as above.
    unsafe {
        let [a, b, c, d] = rows.map(|row| v128_load(row.cast()));
        let low = |a, b| i8x16_shuffle::<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(a, b);
        let high = |a, b| i8x16_shuffle::<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(a, b);
        for (to, [first, second]) in to.into_iter().zip([[low(a, b), low(c, d)], [high(a, b), high(c, d)]]) {
            v128_store(to.cast(), i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(first, second));
            v128_store(to.add(16).cast(), i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(first, second));
        }
    }
}

/// Constants kept in memory that the compiler cannot see through: V8 rebuilds each known constant at every use, with three
/// instructions.
#[derive(Clone, Copy)]
pub struct Constants {
    /// 15 in every byte.
    low: v128,
    /// Sign and magnitude of a sign-extended half that was shifted left by 13.
    half: v128,
    /// 2^112: the ratio between the exponent scales of a float and a half.
    rebias: v128,
}

impl Constants {
    #[inline(always)]
    fn load() -> Self {
        static TABLE: [u32; 3] = [0x0f0f_0f0f, 0x8fff_e000, 0x7780_0000];
        let [low, half, rebias] = core::hint::black_box(&TABLE).map(|word| u32x4_splat(word));
        Self { low, half, rebias }
    }

    /// # Safety
    /// 8 halves must be readable at `from`.
    #[inline(always)]
    unsafe fn halves(self, from: *const u16) -> [v128; 2] {
        // SAFETY: as above.
        let halves = unsafe { v128_load(from.cast()) };
        [i32x4_extend_low_i16x8(halves), i32x4_extend_high_i16x8(halves)]
            .map(|bits| f32x4_mul(v128_and(i32x4_shl(bits, 13), self.half), self.rebias))
    }

    /// Returns the high nibbles. Engines emulate shifts of bytes; a shift of pairs of bytes with a mask is cheaper.
    #[inline(always)]
    fn high(self, bytes: v128) -> v128 {
        v128_and(u16x8_shr(bytes, 4), self.low)
    }
}

/// Unpacks nibbles to bytes: 8 steps of 16 bytes become 8 steps of 2 x 16.
///
/// # Safety
/// 128 bytes must be readable at `from`, 256 writable at `to`.
#[cfg(target_feature = "relaxed-simd")]
#[inline(always)]
unsafe fn expand_u4(with: Constants, to: *mut u8, from: *const u8) {
    for step in 0..8 {
        // SAFETY: as above.
        unsafe {
            let bytes = v128_load(from.add(step * 16).cast());
            v128_store(to.add(step * 32).cast(), v128_and(bytes, with.low));
            v128_store(to.add(step * 32 + 16).cast(), with.high(bytes));
        }
    }
}

/// Defines what all of them share: four lanes of i32, accumulated in `Wasm`'s floats.
macro_rules! lanes {
    () => {
        type Float = Wasm;
        type I = v128;
        type Constants = Constants;

        #[inline(always)]
        fn constants() -> Constants {
            Constants::load()
        }
        #[inline(always)]
        unsafe fn halves(with: Constants, from: *const u16) -> [v128; 2] {
            // SAFETY: as the trait asks; so below.
            unsafe { with.halves(from) }
        }
        #[inline(always)]
        fn zero() -> v128 {
            i32x4_splat(0)
        }
        #[inline(always)]
        fn float(sums: v128) -> v128 {
            f32x4_convert_i32x4(sums)
        }
        #[inline(always)]
        fn add_sums(a: v128, b: v128) -> v128 {
            i32x4_add(a, b)
        }
        #[inline(always)]
        unsafe fn load_sums(from: *const i32) -> v128 {
            unsafe { v128_load(from.cast()) }
        }
        #[inline(always)]
        unsafe fn store_sums(to: *mut i32, sums: v128) {
            unsafe { v128_store(to.cast(), sums) }
        }
        #[inline(always)]
        fn transpose([a, b, c, d]: [v128; 4]) -> [v128; 4] {
            let (low, high) = (i32x4_shuffle::<0, 4, 1, 5>(a, c), i32x4_shuffle::<2, 6, 3, 7>(a, c));
            let (low_2, high_2) = (i32x4_shuffle::<0, 4, 1, 5>(b, d), i32x4_shuffle::<2, 6, 3, 7>(b, d));
            [
                i32x4_shuffle::<0, 4, 1, 5>(low, low_2),
                i32x4_shuffle::<2, 6, 3, 7>(low, low_2),
                i32x4_shuffle::<0, 4, 1, 5>(high, high_2),
                i32x4_shuffle::<2, 6, 3, 7>(high, high_2),
            ]
        }
        #[inline(always)]
        unsafe fn weave(to: [*mut i8; 2], rows: [*const i8; 4]) {
            unsafe { weave(to, rows) }
        }
        #[inline(always)]
        unsafe fn quantize(q: *mut i8, x: *const f32, inverse: f32) -> v128 {
            unsafe { quantize(q, x, inverse) }
        }
    };
}

#[cfg(target_feature = "relaxed-simd")]
pub struct Relaxed;
#[cfg(target_feature = "relaxed-simd")]
pub struct Unsigned;
#[cfg(target_feature = "relaxed-simd")]
pub struct Signed;

/// Marks the end of a loop that the compiler must not unroll.
///
/// LLVM's wasm backend nests a sum that is used once into the next one, so an unrolled outer product becomes one long
/// chain of dependent dots for each accumulator, with every weight vector and activation splat alive at once: V8 then
/// spills more often than it multiplies. In a loop each accumulator is carried from step to step, and the dots of one
/// step are independent. On a core with a one-instruction dot this raises prefill from .47 to .70 of the dot's peak.
/// `test/wasm-loops.test.ts` checks the built modules for it.
#[inline(always)]
fn kept(end: usize) -> usize {
    core::hint::black_box(end)
}

/// Implements the three that use the relaxed dot; they differ in the order of its operands and in the form of the activations.
#[cfg(target_feature = "relaxed-simd")]
macro_rules! relaxed_dots {
    ($name:ident, $prepare:expr, $dot:expr, $offset:expr) => {
        impl $name {
            /// Returns the products of a row and int8 weights, two steps an iteration.
            ///
            /// # Safety
            /// 32 bytes must be readable at `a`, 256 at `w`.
            #[inline(always)]
            unsafe fn one_row_i8(a: *const i8, w: *const u8) -> Sums<Self> {
                let mut sums = [[i32x4_splat(0); 2]; 2];
                let mut weights = [i32x4_splat(0); 2];
                let mut step = 0;
                let end = kept(8);
                while step < end {
                    for (i, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: as above.
                        unsafe {
                            let x = $prepare(v128_load32_splat(a.add((step + i) * 4).cast()));
                            for group in 0..2 {
                                let bytes = v128_load(w.add((step + i) * 32 + group * 16).cast());
                                sums[group] = $dot(x, bytes, sums[group]);
                                if $offset != 0 {
                                    let one = u8x16_splat(1);
                                    weights[group] = i32x4_relaxed_dot_i8x16_i7x16_add(bytes, one, weights[group]);
                                }
                            }
                        }
                    }
                    step += 2;
                }
                core::array::from_fn(|group| {
                    let sum = i32x4_add(sums[0][group], sums[1][group]);
                    i32x4_add(sum, i32x4_mul(weights[group], i32x4_splat($offset)))
                })
            }
        }

        impl Dots for $name {
            lanes!();
            const EXPANDED: usize = 256;
            const DIRECT_U4: usize = 8;
            const DIRECT_I8: usize = 2;

            #[inline(always)]
            unsafe fn expand_u4(with: Constants, to: *mut u8, from: *const u8) {
                unsafe { expand_u4(with, to, from) }
            }
            #[inline(always)]
            unsafe fn expand_i8(to: *mut u8, from: *const u8, correction: *mut i32) {
                for half in 0..2 {
                    let mut sums = [i32x4_splat(0); 2];
                    for step in half * 4..half * 4 + 4 {
                        for group in 0..2 {
                            let at = step * 32 + group * 16;
                            unsafe {
                                let bytes = v128_load(from.add(at).cast());
                                v128_store(to.add(at).cast(), bytes);
                                sums[group] = i32x4_relaxed_dot_i8x16_i7x16_add(bytes, u8x16_splat(1), sums[group]);
                            }
                        }
                    }
                    for group in 0..2 {
                        unsafe {
                            let begin = i32x4_mul(sums[group], i32x4_splat($offset));
                            v128_store(correction.add(half * 8 + group * 4).cast(), begin);
                        }
                    }
                }
            }
            #[inline(always)]
            unsafe fn dots<const R: usize>(
                sums: &mut [Sums<Self>; R],
                a: *const i8,
                w: *const u8,
                from: usize,
                to: usize,
            ) {
                unsafe {
                    let (mut a, mut w) = (a.add(from * R * 4), w.add(from * 32));
                    for _ in from..kept(to) {
                        let low = v128_load(w.cast());
                        let upper = v128_load(w.add(16).cast());
                        for (sums, x) in sums.iter_mut().zip(splat_rows::<R>(a)) {
                            let x = $prepare(x);
                            sums[0] = $dot(x, low, sums[0]);
                            sums[1] = $dot(x, upper, sums[1]);
                        }
                        (a, w) = (a.add(R * 4), w.add(32));
                    }
                }
            }
            #[inline(always)]
            unsafe fn dots_u4<const R: usize>(with: Constants, a: *const i8, w: *const u8) -> [Sums<Self>; R] {
                if R == 1 {
                    return [unsafe { one_row(with, a, w) }; R];
                }
                let mut sums = [[i32x4_splat(0); 2]; R];
                for step in 0..kept(8) {
                    unsafe {
                        let bytes = v128_load(w.add(step * 16).cast());
                        let (low, high) = (v128_and(bytes, with.low), with.high(bytes));
                        for r in 0..R {
                            let x = v128_load32_splat(a.add((step * R + r) * 4).cast());
                            sums[r][0] = i32x4_relaxed_dot_i8x16_i7x16_add(x, low, sums[r][0]);
                            sums[r][1] = i32x4_relaxed_dot_i8x16_i7x16_add(x, high, sums[r][1]);
                        }
                    }
                }
                sums
            }
            #[inline(always)]
            unsafe fn dots_i8<const R: usize>(_: Constants, a: *const i8, w: *const u8) -> [Sums<Self>; R] {
                if R == 1 {
                    return [unsafe { Self::one_row_i8(a, w) }; R];
                }
                let mut sums = [[i32x4_splat(0); 2]; R];
                unsafe { Self::dots::<R>(&mut sums, a, w, 0, 8) };
                if $offset == 0 {
                    return sums;
                }
                let mut weights = [i32x4_splat(0); 2];
                for step in 0..kept(8) {
                    for group in 0..2 {
                        let bytes = unsafe { v128_load(w.add(step * 32 + group * 16).cast()) };
                        weights[group] = i32x4_relaxed_dot_i8x16_i7x16_add(bytes, u8x16_splat(1), weights[group]);
                    }
                }
                let begin = weights.map(|sum| i32x4_mul(sum, i32x4_splat($offset)));
                sums.map(|sums| [i32x4_add(sums[0], begin[0]), i32x4_add(sums[1], begin[1])])
            }
        }
    };
}

#[cfg(target_feature = "relaxed-simd")]
relaxed_dots!(Relaxed, |x| x, |x, w, sums| i32x4_relaxed_dot_i8x16_i7x16_add(x, w, sums), 0);
#[cfg(target_feature = "relaxed-simd")]
relaxed_dots!(
    Unsigned,
    |x| v128_xor(x, u8x16_splat(0x80)),
    |x, w, sums| i32x4_relaxed_dot_i8x16_i7x16_add(w, x, sums),
    -128
);
#[cfg(target_feature = "relaxed-simd")]
relaxed_dots!(Signed, |x| x, |x, w, sums| i32x4_relaxed_dot_i8x16_i7x16_add(w, x, sums), 0);

/// Returns 4 k of each of R rows in all lanes, from (R, 4 k) at `a`. For four rows a load and four shuffles: engines compute the address of each
/// splatting load by an instruction of its own.
///
/// # Safety
/// 4 R bytes must be readable at `a`.
#[cfg(target_feature = "relaxed-simd")]
#[inline(always)]
unsafe fn splat_rows<const R: usize>(a: *const i8) -> [v128; R] {
    // SAFETY: as above.
    unsafe {
        if R < 4 {
            return core::array::from_fn(|r| v128_load32_splat(a.add(r * 4).cast()));
        }
        let x = v128_load(a.cast());
        core::array::from_fn(|r| match r {
            0 => i32x4_shuffle::<0, 0, 0, 0>(x, x),
            1 => i32x4_shuffle::<1, 1, 1, 1>(x, x),
            2 => i32x4_shuffle::<2, 2, 2, 2>(x, x),
            _ => i32x4_shuffle::<3, 3, 3, 3>(x, x),
        })
    }
}

/// Returns the products of 32 k, added up in i16; `products` gives those of a step. The first step needs no addition.
#[cfg(target_feature = "relaxed-simd")]
#[inline(always)]
fn pairs_of<const R: usize>(products: impl Fn(usize) -> [[v128; 2]; R]) -> [[v128; 2]; R] {
    let mut sums = products(0);
    for step in 1..kept(8) {
        let next = products(step);
        for r in 0..R {
            for group in 0..2 {
                sums[r][group] = i16x8_add(sums[r][group], next[r][group]);
            }
        }
    }
    sums
}

/// Handles u4 weights only. A lane of i16 gets 8 pairs of products, each at most 2 * 15 * 128 = 3,840 in magnitude: 30,720 in all.
#[cfg(target_feature = "relaxed-simd")]
pub struct Narrow;

#[cfg(target_feature = "relaxed-simd")]
impl Dots for Narrow {
    lanes!();
    const EXPANDED: usize = 256;
    const DIRECT_U4: usize = 16;
    const DIRECT_I8: usize = 0;

    #[inline(always)]
    unsafe fn expand_u4(with: Constants, to: *mut u8, from: *const u8) {
        unsafe { expand_u4(with, to, from) }
    }
    /// Never called: int8 weights would overflow.
    unsafe fn expand_i8(_: *mut u8, _: *const u8, _: *mut i32) {
        core::arch::wasm32::unreachable()
    }
    #[inline(always)]
    unsafe fn dots<const R: usize>(sums: &mut [Sums<Self>; R], a: *const i8, w: *const u8, from: usize, to: usize) {
        // Only weights with scales of their own for 16 k ask for less than a block, and they are int8.
        debug_assert!(from == 0 && to == 8);
        unsafe {
            let pairs = pairs_of(|step| {
                let weights = [0, 16].map(|at| v128_load(w.add(step * 32 + at).cast()));
                let x = splat_rows::<R>(a.add(step * R * 4));
                x.map(|x| weights.map(|w| i16x8_relaxed_dot_i8x16_i7x16(x, w)))
            });
            for r in 0..R {
                for group in 0..2 {
                    sums[r][group] = i32x4_add(sums[r][group], i32x4_extadd_pairwise_i16x8(pairs[r][group]));
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn dots_u4<const R: usize>(with: Constants, a: *const i8, w: *const u8) -> [Sums<Self>; R] {
        unsafe {
            let pairs = pairs_of(|step| {
                let bytes = v128_load(w.add(step * 16).cast());
                let weights = [v128_and(bytes, with.low), with.high(bytes)];
                core::array::from_fn::<_, R, _>(|r| {
                    let x = v128_load32_splat(a.add((step * R + r) * 4).cast());
                    weights.map(|w| i16x8_relaxed_dot_i8x16_i7x16(x, w))
                })
            });
            pairs.map(|pairs| pairs.map(|pairs| i32x4_extadd_pairwise_i16x8(pairs)))
        }
    }
    /// Never called, for the same reason.
    unsafe fn dots_i8<const R: usize>(_: Constants, _: *const i8, _: *const u8) -> [Sums<Self>; R] {
        core::arch::wasm32::unreachable()
    }
}

mod wide;
pub use wide::Wide;
