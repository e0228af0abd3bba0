//! Four f32 lanes: what attention and the small kernels are written in. `Scalar` is the definition of each operation,
//! `Wasm` the instruction for it. Both round alike, so a kernel gives the same bits with either.

pub trait Floats: 'static {
    type F: Copy;

    /// # Safety
    /// 4 floats are readable at `from`; alignment does not matter.
    unsafe fn load(from: *const f32) -> Self::F;
    /// # Safety
    /// 4 floats are writable at `to`.
    unsafe fn store(to: *mut f32, value: Self::F);
    fn splat(value: f32) -> Self::F;
    fn add(a: Self::F, b: Self::F) -> Self::F;
    fn sub(a: Self::F, b: Self::F) -> Self::F;
    fn mul(a: Self::F, b: Self::F) -> Self::F;
    fn div(a: Self::F, b: Self::F) -> Self::F;
    /// a < b ? b : a: a NaN in `a` stays, one in `b` is dropped.
    fn pmax(a: Self::F, b: Self::F) -> Self::F;
    /// b < a ? b : a.
    fn pmin(a: Self::F, b: Self::F) -> Self::F;
    /// For x = 1.5 * 2^23 + n, n in -127..=127: 2^n, and 0 for n = -127.
    fn power_of_two(x: Self::F) -> Self::F;
    /// Even and odd lanes of (a, b).
    fn unzip(a: Self::F, b: Self::F) -> (Self::F, Self::F);
    /// The inverse: lanes a0 b0 a1 b1 and a2 b2 a3 b3.
    fn zip(a: Self::F, b: Self::F) -> (Self::F, Self::F);
    /// (0 + 2) + (1 + 3).
    fn total(a: Self::F) -> f32;
    /// By `pmax`.
    fn largest(a: Self::F) -> f32;
    fn root(x: f32) -> f32;
    /// 8 halves as floats, exactly.
    ///
    /// # Safety
    /// 8 halves are readable at `from`.
    unsafe fn load_f16(from: *const u16) -> (Self::F, Self::F);
    /// 16 bytes as floats.
    ///
    /// # Safety
    /// 16 bytes are readable at `from`.
    unsafe fn load_i8(from: *const i8) -> [Self::F; 4];
}

/// One lane after the other.
#[cfg(not(target_arch = "wasm32"))]
pub struct Scalar;

/// v128.
#[cfg(target_arch = "wasm32")]
pub struct Wasm;

/// What the ABI uses.
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
    fn root(x: f32) -> f32 {
        x.sqrt()
    }
    unsafe fn load_f16(from: *const u16) -> ([f32; 4], [f32; 4]) {
        let half = |i: usize| {
            // SAFETY: as the trait asks; i < 8.
            let bits = unsafe { from.add(i).read_unaligned() } as u32;
            let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
            // Infinities and NaNs keep their top exponent.
            let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
            f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
        };
        (core::array::from_fn(half), core::array::from_fn(|i| half(i + 4)))
    }
    unsafe fn load_i8(from: *const i8) -> [[f32; 4]; 4] {
        // SAFETY: as the trait asks; the index is below 16.
        core::array::from_fn(|v| core::array::from_fn(|i| unsafe { *from.add(4 * v + i) } as f32))
    }
}

#[cfg(target_arch = "wasm32")]
mod wasm {
    use super::Floats;
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
        fn div(a: v128, b: v128) -> v128 {
            f32x4_div(a, b)
        }
        #[inline(always)]
        fn pmax(a: v128, b: v128) -> v128 {
            f32x4_pmax(a, b)
        }
        #[inline(always)]
        fn pmin(a: v128, b: v128) -> v128 {
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
        fn root(x: f32) -> f32 {
            f32x4_extract_lane::<0>(f32x4_sqrt(f32x4_splat(x)))
        }
        #[inline(always)]
        unsafe fn load_f16(from: *const u16) -> (v128, v128) {
            // SAFETY: as the trait asks.
            let halves = unsafe { v128_load(from.cast()) };
            (widen(u32x4_extend_low_u16x8(halves)), widen(u32x4_extend_high_u16x8(halves)))
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

    /// Halves in the low 16 bits of each lane as floats: their bits shifted, times 2^112.
    #[inline(always)]
    fn widen(bits: v128) -> v128 {
        let size = v128_and(bits, i32x4_splat(0x7fff));
        let magnitude = f32x4_mul(i32x4_shl(size, 13), i32x4_splat(0x7780_0000));
        // Infinities and NaNs keep their top exponent.
        let special = v128_and(i32x4_ge(size, i32x4_splat(0x7c00)), i32x4_splat(0x7f80_0000));
        v128_or(v128_or(magnitude, special), i32x4_shl(v128_andnot(bits, i32x4_splat(0x7fff)), 16))
    }
}
