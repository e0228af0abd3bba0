//! Halves (binary16): alone, and the eight of a panel at once.
use crate::simd::dots::PANEL;

/// Converts a half to a float, exactly. Multiplying the shifted bits by 2^112 would do it, too, but that reads halves below
/// 2^-14 as subnormal floats, which take many times as long; the scales of Q6_K are such halves.
#[inline(always)]
pub fn from_f16(bits: u16) -> f32 {
    let bits = bits as u32;
    let size = (bits & 0x7fff) << 13;
    let least = f32::from_bits(0x3880_0000);
    let small = f32::from_bits(size | 0x3880_0000) - least;
    let rebased = size + (if size >= 0x0f80_0000 { 224 } else { 112 } << 23);
    let magnitude = if size < 0x0080_0000 { small.to_bits() } else { rebased };
    f32::from_bits(magnitude | (bits & 0x8000) << 16)
}

/// Converts a float to the nearest half, ties to even; larger values become infinite.
pub fn to_f16(value: f32) -> u16 {
    let sign = (value.to_bits() >> 16 & 0x8000) as u16;
    let size = value.to_bits() & 0x7fff_ffff;
    if size > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    if size < 0x3880_0000 {
        // Below 2^-14: adding 0.5 leaves the value in steps of 2^-24 in the low bits, rounded by the addition.
        let shifted = f32::from_bits(size) + 0.5;
        return sign | (shifted.to_bits() - 0x3f00_0000) as u16;
    }
    let rounded = size + 0xfff + (size >> 13 & 1);
    sign | ((rounded - 0x3800_0000) >> 13).min(0x7c00) as u16
}

/// Keeps the low half of each word.
#[inline(always)]
pub fn of_words(words: &[u32; PANEL]) -> [u16; PANEL] {
    words.map(|word| word as u16)
}

/// Converts floats, which are given by their bits, as `to_f16` does.
#[cfg(not(target_arch = "wasm32"))]
pub fn of_floats(bits: &[u32; PANEL]) -> [u16; PANEL] {
    bits.map(|bits| to_f16(f32::from_bits(bits)))
}

/// The same without branches: all three forms of the result, and a choice.
#[cfg(target_arch = "wasm32")]
#[inline(always)]
pub fn of_floats(bits: &[u32; PANEL]) -> [u16; PANEL] {
    use core::arch::wasm32::*;
    let four = |at: usize| {
        // SAFETY: `at` is 0 or 4, of 8 words.
        let bits = unsafe { v128_load(bits.as_ptr().add(at).cast()) };
        let size = v128_and(bits, u32x4_splat(0x7fff_ffff));
        let small = u32x4_sub(f32x4_add(size, f32x4_splat(0.5)), u32x4_splat(0x3f00_0000));
        let odd = v128_and(u32x4_shr(size, 13), u32x4_splat(1));
        let rounded = u32x4_add(u32x4_add(size, u32x4_splat(0xfff)), odd);
        let whole = u32x4_min(u32x4_shr(u32x4_sub(rounded, u32x4_splat(0x3800_0000)), 13), u32x4_splat(0x7c00));
        let value = v128_bitselect(small, whole, u32x4_lt(size, u32x4_splat(0x3880_0000)));
        let value = v128_bitselect(u32x4_splat(0x7e00), value, u32x4_gt(size, u32x4_splat(0x7f80_0000)));
        v128_or(value, v128_and(u32x4_shr(bits, 16), u32x4_splat(0x8000)))
    };
    let mut out = [0; PANEL];
    // SAFETY: `out` has 16 bytes.
    unsafe { v128_store(out.as_mut_ptr().cast(), u16x8_narrow_i32x4(four(0), four(4))) };
    out
}

/// Multiplies by -8. Most have an exponent that can rise by 3.
#[inline(always)]
pub fn minus_eight_times(halves: [u16; PANEL]) -> [u16; PANEL] {
    let plain = halves.iter().fold(true, |plain, bits| plain & ((bits >> 10 & 31).wrapping_sub(1) < 27));
    if plain {
        return halves.map(|bits| (bits + (3 << 10)) ^ 0x8000);
    }
    halves.map(|bits| to_f16(from_f16(bits) * -8.0))
}
