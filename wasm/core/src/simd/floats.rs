//! Four f32 lanes, on which attention and the small kernels are built. `Scalar` defines each
//! operation, `Wasm` is the instruction for it. Both round equally, except for `mul_add` in relaxed
//! builds, which rounds once if the engine can.

pub trait Floats: 'static {
    type F: Copy;

    /// # Safety
    /// 4 floats must be readable at `from`; alignment does not matter.
    unsafe fn load(from: *const f32) -> Self::F;
    /// # Safety
    /// 4 floats must be writable at `to`.
    unsafe fn store(to: *mut f32, value: Self::F);
    fn splat(value: f32) -> Self::F;
    fn add(a: Self::F, b: Self::F) -> Self::F;
    fn sub(a: Self::F, b: Self::F) -> Self::F;
    fn mul(a: Self::F, b: Self::F) -> Self::F;
    /// Returns a * b + c.
    fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    fn div(a: Self::F, b: Self::F) -> Self::F;
    /// Returns a < b ? b : a; a NaN in `a` stays, and one in `b` may be dropped.
    fn pmax(a: Self::F, b: Self::F) -> Self::F;
    /// Returns b < a ? b : a.
    fn pmin(a: Self::F, b: Self::F) -> Self::F;
    /// Returns 2^n for x = 1.5 * 2^23 + n, n in -127..=127; 0 for n = -127.
    fn power_of_two(x: Self::F) -> Self::F;
    /// Returns the even and odd lanes of (a, b).
    fn unzip(a: Self::F, b: Self::F) -> (Self::F, Self::F);
    /// Returns the inverse of `unzip`: lanes a0 b0 a1 b1 and a2 b2 a3 b3.
    fn zip(a: Self::F, b: Self::F) -> (Self::F, Self::F);
    /// Returns the sum, as (0 + 2) + (1 + 3).
    fn total(a: Self::F) -> f32;
    /// Returns the maximum by `pmax`.
    fn largest(a: Self::F) -> f32;
    /// Returns whether a > b in any lane.
    fn any_above(a: Self::F, b: Self::F) -> bool;
    fn root(x: f32) -> f32;
    fn abs(a: Self::F) -> Self::F;
    /// Converts 8 finite halves to floats, exactly.
    ///
    /// # Safety
    /// 8 halves must be readable at `from`.
    unsafe fn load_f16(from: *const u16) -> (Self::F, Self::F);
    /// Stores the nearest halves, ties to even; 65504 for larger values, 0 for NaN.
    ///
    /// # Safety
    /// 8 halves must be writable at `to`.
    unsafe fn store_f16(to: *mut u16, a: Self::F, b: Self::F);
    /// Stores the nearest integers, ties to even; -127 and 127 for values beyond, 0 for NaN.
    ///
    /// # Safety
    /// 8 bytes must be writable at `to`.
    unsafe fn store_i8(to: *mut i8, a: Self::F, b: Self::F);
    /// Converts 16 bytes to floats.
    ///
    /// # Safety
    /// 16 bytes must be readable at `from`.
    unsafe fn load_i8(from: *const i8) -> [Self::F; 4];
}

/// Computes one lane after the other.
#[cfg(not(target_arch = "wasm32"))]
pub struct Scalar;

/// Computes with v128.
#[cfg(target_arch = "wasm32")]
pub struct Wasm;

/// The implementation that the ABI uses.
#[cfg(not(target_arch = "wasm32"))]
pub type Native = Scalar;
#[cfg(target_arch = "wasm32")]
pub type Native = Wasm;

#[cfg(not(target_arch = "wasm32"))]
impl Floats for Scalar {
    type F = [f32; 4];

    unsafe fn load(from: *const f32) -> [f32; 4] {
        // SAFETY: as the trait asks.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }
    unsafe fn store(to: *mut f32, value: [f32; 4]) {
        // SAFETY: as the trait asks.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(value) }
    }
    fn splat(value: f32) -> [f32; 4] {
        [value; 4]
    }
    fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        core::array::from_fn(|i| a[i] + b[i])
    }
    fn sub(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        core::array::from_fn(|i| a[i] - b[i])
    }
    fn mul(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        core::array::from_fn(|i| a[i] * b[i])
    }
    fn mul_add(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        core::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    fn div(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        core::array::from_fn(|i| a[i] / b[i])
    }
    fn pmax(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        core::array::from_fn(|i| if a[i] < b[i] { b[i] } else { a[i] })
    }
    fn pmin(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        core::array::from_fn(|i| if b[i] < a[i] { b[i] } else { a[i] })
    }
    fn power_of_two(x: [f32; 4]) -> [f32; 4] {
        x.map(|x| f32::from_bits((x.to_bits() << 23).wrapping_add(127 << 23)))
    }
    fn unzip(a: [f32; 4], b: [f32; 4]) -> ([f32; 4], [f32; 4]) {
        ([a[0], a[2], b[0], b[2]], [a[1], a[3], b[1], b[3]])
    }
    fn zip(a: [f32; 4], b: [f32; 4]) -> ([f32; 4], [f32; 4]) {
        ([a[0], b[0], a[1], b[1]], [a[2], b[2], a[3], b[3]])
    }
    fn total(a: [f32; 4]) -> f32 {
        (a[0] + a[2]) + (a[1] + a[3])
    }
    fn largest(a: [f32; 4]) -> f32 {
        let [x, y, ..] = Self::pmax(a, [a[2], a[3], a[2], a[3]]);
        if x < y { y } else { x }
    }
    fn any_above(a: [f32; 4], b: [f32; 4]) -> bool {
        (0..4).any(|i| a[i] > b[i])
    }
    fn root(x: f32) -> f32 {
        x.sqrt()
    }
    unsafe fn load_f16(from: *const u16) -> ([f32; 4], [f32; 4]) {
        let half = |i: usize| {
            // SAFETY: as the trait asks; i < 8.
            let bits = unsafe { from.add(i).read_unaligned() } as i16 as i32;
            f32::from_bits(((bits << 13) & SIGN_AND_SIZE) as u32) * f32::from_bits(REBIAS as u32)
        };
        (core::array::from_fn(half), core::array::from_fn(|i| half(i + 4)))
    }
    fn abs(a: [f32; 4]) -> [f32; 4] {
        a.map(f32::abs)
    }
    unsafe fn store_f16(to: *mut u16, a: [f32; 4], b: [f32; 4]) {
        for (i, value) in a.into_iter().chain(b).enumerate() {
            // SAFETY: as the trait asks.
            unsafe { *to.add(i) = half(value) };
        }
    }
    unsafe fn store_i8(to: *mut i8, a: [f32; 4], b: [f32; 4]) {
        for (i, value) in a.into_iter().chain(b).enumerate() {
            // SAFETY: as the trait asks. A cast converts NaN to 0.
            unsafe { *to.add(i) = value.clamp(-127.0, 127.0).round_ties_even() as i8 };
        }
    }
    unsafe fn load_i8(from: *const i8) -> [[f32; 4]; 4] {
        // SAFETY: as the trait asks; the index is below 16.
        core::array::from_fn(|v| core::array::from_fn(|i| unsafe { *from.add(4 * v + i) } as f32))
    }
}

/// Mask of a sign-extended half's bits after a shift by 13.
const SIGN_AND_SIZE: i32 = 0x8fff_e000u32 as i32;
/// 2^112: the ratio between the exponent scales of a float and a half.
const REBIAS: i32 = 0x7780_0000;

/// Converts one float as in `Floats::store_f16`.
#[cfg(not(target_arch = "wasm32"))]
fn half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    if value.is_nan() {
        return 0;
    }
    let size = value.abs().min(65504.0).to_bits();
    if size < 0x3880_0000 {
        // Subnormal: adding 0.5 puts the half's fraction into the lowest bits, rounded by the addition itself.
        return sign | ((f32::from_bits(size) + 0.5).to_bits() - 0.5f32.to_bits()) as u16;
    }
    sign | ((size - 0x3800_0000 + 0xfff + (size >> 13 & 1)) >> 13) as u16
}

#[cfg(target_arch = "wasm32")]
mod wasm {
    use super::{Floats, REBIAS, SIGN_AND_SIZE};
    use core::arch::wasm32::*;

    impl Floats for super::Wasm {
        type F = v128;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> v128 {
            // SAFETY: as the trait asks.
            unsafe { v128_load(from.cast()) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, value: v128) {
            // SAFETY: as the trait asks.
            unsafe { v128_store(to.cast(), value) }
        }
        #[inline(always)]
        fn splat(value: f32) -> v128 {
            f32x4_splat(value)
        }
        #[inline(always)]
        fn add(a: v128, b: v128) -> v128 {
            f32x4_add(a, b)
        }
        #[inline(always)]
        fn sub(a: v128, b: v128) -> v128 {
            f32x4_sub(a, b)
        }
        #[inline(always)]
        fn mul(a: v128, b: v128) -> v128 {
            f32x4_mul(a, b)
        }
        #[inline(always)]
        fn mul_add(a: v128, b: v128, c: v128) -> v128 {
            #[cfg(target_feature = "relaxed-simd")]
            return f32x4_relaxed_madd(a, b, c);
            #[cfg(not(target_feature = "relaxed-simd"))]
            f32x4_add(f32x4_mul(a, b), c)
        }
        #[inline(always)]
        fn div(a: v128, b: v128) -> v128 {
            f32x4_div(a, b)
        }
        #[inline(always)]
        fn pmax(a: v128, b: v128) -> v128 {
            // LLVM would make a relaxed maximum of (a, b) of it, and x86 then drops a NaN in `a`.
            #[cfg(target_feature = "relaxed-simd")]
            return f32x4_relaxed_max(b, a);
            #[cfg(not(target_feature = "relaxed-simd"))]
            f32x4_pmax(a, b)
        }
        #[inline(always)]
        fn pmin(a: v128, b: v128) -> v128 {
            #[cfg(target_feature = "relaxed-simd")]
            return f32x4_relaxed_min(b, a);
            #[cfg(not(target_feature = "relaxed-simd"))]
            f32x4_pmin(a, b)
        }
        #[inline(always)]
        fn power_of_two(x: v128) -> v128 {
            i32x4_add(i32x4_shl(x, 23), i32x4_splat(127 << 23))
        }
        #[inline(always)]
        fn unzip(a: v128, b: v128) -> (v128, v128) {
            (i32x4_shuffle::<0, 2, 4, 6>(a, b), i32x4_shuffle::<1, 3, 5, 7>(a, b))
        }
        #[inline(always)]
        fn zip(a: v128, b: v128) -> (v128, v128) {
            (i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<2, 6, 3, 7>(a, b))
        }
        #[inline(always)]
        fn total(a: v128) -> f32 {
            let pairs = f32x4_add(a, i32x4_shuffle::<2, 3, 2, 3>(a, a));
            f32x4_extract_lane::<0>(pairs) + f32x4_extract_lane::<1>(pairs)
        }
        #[inline(always)]
        fn largest(a: v128) -> f32 {
            let pairs = f32x4_pmax(a, i32x4_shuffle::<2, 3, 2, 3>(a, a));
            f32x4_extract_lane::<0>(f32x4_pmax(pairs, i32x4_shuffle::<1, 1, 1, 1>(pairs, pairs)))
        }
        #[inline(always)]
        fn any_above(a: v128, b: v128) -> bool {
            v128_any_true(f32x4_gt(a, b))
        }
        #[inline(always)]
        fn root(x: f32) -> f32 {
            f32x4_extract_lane::<0>(f32x4_sqrt(f32x4_splat(x)))
        }
        #[inline(always)]
        unsafe fn load_f16(from: *const u16) -> (v128, v128) {
            // SAFETY: as the trait asks.
            let halves = unsafe { v128_load(from.cast()) };
            (widen(i32x4_extend_low_i16x8(halves)), widen(i32x4_extend_high_i16x8(halves)))
        }
        #[inline(always)]
        fn abs(a: v128) -> v128 {
            f32x4_abs(a)
        }
        #[inline(always)]
        unsafe fn store_f16(to: *mut u16, a: v128, b: v128) {
            // SAFETY: as the trait asks.
            unsafe { v128_store(to.cast(), u16x8_narrow_i32x4(narrow(a), narrow(b))) }
        }
        #[inline(always)]
        unsafe fn store_i8(to: *mut i8, a: v128, b: v128) {
            let all = i8x16_shuffle::<0, 4, 8, 12, 16, 20, 24, 28, 0, 0, 0, 0, 0, 0, 0, 0>(bytes(a), bytes(b));
            // SAFETY: as the trait asks.
            unsafe { v128_store64_lane::<0>(all, to.cast()) }
        }
        #[inline(always)]
        unsafe fn load_i8(from: *const i8) -> [v128; 4] {
            // SAFETY: as the trait asks.
            let bytes = unsafe { v128_load(from.cast()) };
            let (low, high) = (i16x8_extend_low_i8x16(bytes), i16x8_extend_high_i8x16(bytes));
            [
                f32x4_convert_i32x4(i32x4_extend_low_i16x8(low)),
                f32x4_convert_i32x4(i32x4_extend_high_i16x8(low)),
                f32x4_convert_i32x4(i32x4_extend_low_i16x8(high)),
                f32x4_convert_i32x4(i32x4_extend_high_i16x8(high)),
            ]
        }
    }

    /// Converts sign-extended halves to floats.
    #[inline(always)]
    fn widen(bits: v128) -> v128 {
        f32x4_mul(v128_and(i32x4_shl(bits, 13), i32x4_splat(SIGN_AND_SIZE)), i32x4_splat(REBIAS))
    }

    /// Converts to halves in the low 16 bits of each lane; it is the scalar `half` with both branches evaluated.
    #[inline(always)]
    fn narrow(value: v128) -> v128 {
        let value = v128_and(value, f32x4_eq(value, value));
        let sign = u32x4_shr(v128_and(value, i32x4_splat(i32::MIN)), 16);
        let size = f32x4_pmin(f32x4_abs(value), f32x4_splat(65504.0));
        let tiny = i32x4_sub(f32x4_add(size, f32x4_splat(0.5)), f32x4_splat(0.5));
        let odd = v128_and(u32x4_shr(size, 13), i32x4_splat(1));
        let usual = u32x4_shr(i32x4_add(i32x4_add(size, odd), i32x4_splat(0xfff - 0x3800_0000)), 13);
        v128_or(sign, v128_bitselect(tiny, usual, i32x4_lt(size, i32x4_splat(0x3880_0000))))
    }

    /// Converts to integers in the lowest byte of each lane: adding 1.5 * 2^23 leaves a float no bits for a fraction.
    #[inline(always)]
    fn bytes(value: v128) -> v128 {
        let value = v128_and(value, f32x4_eq(value, value));
        let value = f32x4_pmax(f32x4_pmin(value, f32x4_splat(127.0)), f32x4_splat(-127.0));
        f32x4_add(value, f32x4_splat(12_582_912.0))
    }
}
