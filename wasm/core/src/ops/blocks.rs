//! Reads blocks of 32 of a row in the formats of files: ggml's, as in llama.cpp's `ggml-common.h`, and floats.
//!
//! | kind | formats | what is kept |
//! |---|---|---|
//! | `U4` | Q1_0, Q2_0, Q4_0, Q4_1, TQ1_0, TQ2_0 | every number exactly |
//! | `U4` | Q4_K | as its scale and minimum in f16 give it: both are products |
//! | `I8` | Q5_0, Q8_0, IQ4_NL | every number exactly |
//! | `I8` | MXFP4 | exactly, but for scales below 2^-24, which become 0 |
//! | `I8` | IQ4_XS | as its scale in f16 gives it |
//! | `I8M` | Q5_1 | exactly |
//! | `I8M` | Q5_K | as its scale and minimum in f16 give it |
//! | `I8S` | Q3_K, Q6_K | as their scales in f16 give it |
//! | `I8S` | Q2_K | within half of 1/127 of the largest that its 16 can stand for, since no kind has a minimum per 16 |
use super::repack::{from_f16, to_f16};
use super::weight::{BF16, F16, F32, I8, I8M, I8S, U4};
use crate::simd::dots::BLOCK;

/// Types in the file, numbered as in `backend/wasm/abi.ts`.
pub const Q4_0: u32 = 3;
pub const Q4_1: u32 = 4;
pub const Q5_0: u32 = 5;
pub const Q5_1: u32 = 6;
pub const Q8_0: u32 = 7;
pub const Q4_K: u32 = 8;
pub const Q5_K: u32 = 9;
pub const Q6_K: u32 = 10;
pub const IQ4_NL: u32 = 11;
pub const IQ4_XS: u32 = 12;
pub const MXFP4: u32 = 13;
pub const Q2_K: u32 = 14;
pub const Q3_K: u32 = 15;
pub const TQ1_0: u32 = 16;
pub const TQ2_0: u32 = 17;
pub const Q1_0: u32 = 18;
pub const Q2_0: u32 = 19;

/// The numbers that the 4 bits of IQ4_NL and IQ4_XS stand for.
const UNEVEN: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// Twice the numbers that the 4 bits of MXFP4 stand for: a sign, two bits of exponent and one of fraction.
const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Returns the weight kind for a file type; `u32::MAX` for an unknown one.
pub const fn kind_of(source: u32) -> u32 {
    match source {
        0 => F32,
        1 => F16,
        2 => BF16,
        Q1_0 | Q2_0 | Q4_0 | Q4_1 | Q4_K | TQ1_0 | TQ2_0 => U4,
        Q5_0 | Q8_0 | IQ4_NL | IQ4_XS | MXFP4 => I8,
        Q5_1 | Q5_K => I8M,
        Q2_K | Q3_K | Q6_K => I8S,
        _ => u32::MAX,
    }
}

/// Returns the bytes of `k` elements in the file.
pub const fn row_bytes(source: u32, k: usize) -> usize {
    match source {
        0 => k * 4,
        1 | 2 => k * 2,
        MXFP4 => k / 32 * 17,
        Q4_0 | IQ4_NL => k / 32 * 18,
        Q4_1 => k / 32 * 20,
        Q5_0 => k / 32 * 22,
        Q5_1 => k / 32 * 24,
        Q8_0 => k / 32 * 34,
        Q1_0 => k / 128 * 18,
        Q2_0 => k / 64 * 18,
        TQ1_0 => k / 256 * 54,
        TQ2_0 => k / 256 * 66,
        Q2_K => k / 256 * 84,
        Q3_K => k / 256 * 110,
        IQ4_XS => k / 256 * 136,
        Q4_K => k / 256 * 144,
        Q5_K => k / 256 * 176,
        _ => k / 256 * 210,
    }
}

/// Returns the elements of a block in the file.
pub const fn block_elements(source: u32) -> usize {
    match source {
        0..=2 => 1,
        Q4_K | Q5_K | Q6_K | IQ4_XS | Q2_K | Q3_K | TQ1_0 | TQ2_0 => 256,
        Q1_0 => 128,
        Q2_0 => 64,
        _ => 32,
    }
}

/// Whether `read` gives the scales of a format as the bits of floats, which are products, and not of halves.
pub const fn gives_floats(source: u32) -> bool {
    matches!(source, Q4_K | Q5_K | IQ4_XS | Q3_K | Q6_K)
}

/// Reads block `block` of 32 of a row: its numbers, 4 to a word, and the bits of its scale and its minimum (or second
/// scale). Q4_0's minimum is -8 scales, and is left to the caller.
///
/// # Safety
/// The row must have such a block.
#[inline(always)]
pub unsafe fn read<const SOURCE: u32>(row: *const u8, block: usize, words: &mut [u32; 8]) -> [u32; 2] {
    // SAFETY: as above, in every format.
    unsafe {
        match SOURCE {
            Q4_0 | Q4_1 => {
                let at = row.add(block * row_bytes(SOURCE, BLOCK));
                let d = half(at);
                nibbles(at.add(if SOURCE == Q4_0 { 2 } else { 4 }), words);
                [d, if SOURCE == Q4_0 { 0 } else { half(at.add(2)) }].map(u32::from)
            }
            Q5_0 | Q5_1 => {
                let at = row.add(block * row_bytes(SOURCE, BLOCK));
                let body = at.add(if SOURCE == Q5_0 { 2 } else { 4 });
                let high = body.cast::<u32>().read_unaligned();
                nibbles(body.add(4), words);
                for (i, word) in words.iter_mut().enumerate() {
                    *word |= four_bits(high >> (4 * i) & 15) << 4;
                }
                if SOURCE == Q5_0 {
                    minus_half::<5>(words);
                }
                [half(at), if SOURCE == Q5_0 { 0 } else { half(at.add(2)) }].map(u32::from)
            }
            Q8_0 => {
                let at = row.add(block * row_bytes(SOURCE, BLOCK));
                *words = at.add(2).cast::<[u32; 8]>().read_unaligned();
                [half(at).into(), 0]
            }
            Q4_K | Q5_K => {
                let at = row.add(block / 8 * row_bytes(SOURCE, 256));
                let sub = block % 8;
                let quants = at.add(if SOURCE == Q4_K { 16 } else { 48 }).add(sub / 2 * 32);
                *words = eight_words(quants).map(|four| four >> (sub % 2 * 4) & 0x0f0f_0f0f);
                if SOURCE == Q5_K {
                    let high = eight_words(at.add(16)).map(|four| (four >> sub & 0x0101_0101) << 4);
                    join(words, high);
                }
                let (scale, min) = k_scales(at.add(4), sub);
                let d = from_f16(half(at)) * scale as f32;
                let m = from_f16(half(at.add(2))) * min as f32;
                [d.to_bits(), (-m).to_bits()]
            }
            IQ4_NL | MXFP4 => {
                let at = row.add(block * row_bytes(SOURCE, BLOCK));
                nibbles(at.add(if SOURCE == MXFP4 { 1 } else { 2 }), words);
                let table = if SOURCE == MXFP4 { E2M1 } else { UNEVEN };
                look_up(words, table);
                [if SOURCE == MXFP4 { half_of_power(*at) } else { half(at) }.into(), 0]
            }
            IQ4_XS => {
                let at = row.add(block / 8 * row_bytes(SOURCE, 256));
                let sub = block % 8;
                nibbles(at.add(8 + sub * 16), words);
                look_up(words, UNEVEN);
                let low = *at.add(4 + sub / 2) >> (sub % 2 * 4) & 15;
                let scale = (low as u16 | (half(at.add(2)) >> (sub * 2) & 3) << 4) as f32 - 32.0;
                [(from_f16(half(at)) * scale).to_bits(), 0]
            }
            Q2_K => {
                let at = row.add(block / 8 * row_bytes(SOURCE, 256));
                let sub = block % 8;
                pairs(at.add(16), sub, words);
                let (d, least) = (from_f16(half(at.add(80))), from_f16(half(at.add(82))));
                let mut tables = [[0i8; 16]; 2];
                let mut heads = [0u32; 2];
                for i in 0..2 {
                    let byte = *at.add(sub * 2 + i);
                    let (levels, scale) = levels_in_int8(d * (byte & 15) as f32, least * (byte >> 4) as f32);
                    tables[i][..4].copy_from_slice(&levels);
                    heads[i] = scale.into();
                }
                look_up_halves(words, tables);
                heads
            }
            Q3_K => {
                let at = row.add(block / 8 * row_bytes(SOURCE, 256));
                let sub = block % 8;
                pairs(at.add(32), sub, words);
                join(words, eight_words(at).map(|four| (four >> sub & 0x0101_0101) << 2));
                minus_half::<3>(words);
                let d = from_f16(half(at.add(108)));
                let scale = |i: usize| {
                    let low = *at.add(96 + i % 8) >> (i / 8 * 4) & 15;
                    let high = *at.add(104 + i % 4) >> (i / 4 * 2) & 3;
                    (d * ((low | high << 4) as f32 - 32.0)).to_bits()
                };
                [scale(sub * 2), scale(sub * 2 + 1)]
            }
            Q1_0 | Q2_0 => {
                let (bits, blocks) = if SOURCE == Q1_0 { (1, 4) } else { (2, 2) };
                let at = row.add(block / blocks * 18);
                let body = at.add(2 + block % blocks * 4 * bits);
                for (i, word) in words.iter_mut().enumerate() {
                    let byte = *body.add(i * bits / 2) as u32;
                    *word = if SOURCE == Q1_0 {
                        four_bits(byte >> (i % 2 * 4) & 15)
                    } else {
                        (byte | byte << 6 | byte << 12 | byte << 18) & 0x0303_0303
                    };
                }
                let d = half(at);
                [if SOURCE == Q1_0 { to_f16(2.0 * from_f16(d)) } else { d }, d ^ 0x8000].map(u32::from)
            }
            TQ1_0 => {
                let at = row.add(block / 8 * row_bytes(SOURCE, 256));
                for (i, word) in words.iter_mut().enumerate() {
                    *word = four_trits(at, block % 8 * 8 + i);
                }
                let d = half(at.add(52));
                [d, d ^ 0x8000].map(u32::from)
            }
            TQ2_0 => {
                let at = row.add(block / 8 * row_bytes(SOURCE, 256));
                pairs(at, block % 8, words);
                let d = half(at.add(64));
                [d, d ^ 0x8000].map(u32::from)
            }
            _ => {
                let at = row.add(block / 8 * row_bytes(Q6_K, 256));
                let (part, run) = (block % 8 / 4, block % 4);
                let low = at.add(part * 64 + run % 2 * 32);
                let high = at.add(128 + part * 32);
                *words = eight_words(low).map(|four| four >> (run / 2 * 4) & 0x0f0f_0f0f);
                join(words, eight_words(high).map(|four| (four >> (run * 2) & 0x0303_0303) << 4));
                minus_half::<6>(words);
                let d = from_f16(half(at.add(208)));
                let scale = |i: usize| (d * *at.add(192 + block % 8 * 2 + i).cast::<i8>() as f32).to_bits();
                [scale(0), scale(1)]
            }
        }
    }
}

/// # Safety
/// 32 bytes must be readable at `at`.
#[inline(always)]
unsafe fn eight_words(at: *const u8) -> [u32; 8] {
    // SAFETY: as above.
    unsafe { at.cast::<[u32; 8]>().read_unaligned() }
}

/// Adds bits that are in none of the words.
#[inline(always)]
fn join(words: &mut [u32; 8], bits: [u32; 8]) {
    for (word, bits) in words.iter_mut().zip(bits) {
        *word |= bits;
    }
}

/// Unpacks 16 bytes of nibbles: elements 0..16 from the low ones, 16..32 from the high ones.
///
/// # Safety
/// 16 bytes must be readable at `at`.
#[inline(always)]
unsafe fn nibbles(at: *const u8, words: &mut [u32; 8]) {
    // SAFETY: as above.
    let all = unsafe { at.cast::<[u32; 4]>().read_unaligned() };
    for i in 0..4 {
        words[i] = all[i] & 0x0f0f_0f0f;
        words[i + 4] = all[i] >> 4 & 0x0f0f_0f0f;
    }
}

/// Unpacks run `run` of 32 from the 2-bit numbers at `at`: 4 runs to 32 bytes, the first in the lowest bits.
///
/// # Safety
/// 64 bytes must be readable at `at`.
#[inline(always)]
unsafe fn pairs(at: *const u8, run: usize, words: &mut [u32; 8]) {
    // SAFETY: as above.
    *words = unsafe { eight_words(at.add(run / 4 * 32)) }.map(|four| four >> (run % 4 * 2) & 0x0303_0303);
}

/// Returns elements 4 i to 4 i + 3 of a TQ1_0 block, plus 1, one to a byte. Five digits in base 3 are a byte, as a fraction
/// of 256: multiplied by a power of 3, its first digit is what comes before the point.
///
/// # Safety
/// A block must be readable at `at`.
#[inline(always)]
unsafe fn four_trits(at: *const u8, i: usize) -> u32 {
    let (byte, digit) = match i {
        0..40 => (i % 8 * 4, i / 8),
        40..60 => (32 + (i - 40) % 4 * 4, (i - 40) / 4),
        _ => (48, i - 60),
    };
    // SAFETY: as above.
    let four = unsafe { at.add(byte).cast::<u32>().read_unaligned() };
    let two = |bytes: u32| {
        let fraction = ((bytes & 0x00ff_00ff) * [1, 3, 9, 27, 81][digit]) & 0x00ff_00ff;
        (fraction * 3) >> 8 & 0x00ff_00ff
    };
    two(four) | two(four >> 8) << 8
}

/// Returns bits 0 to 3, each in a byte of its own.
#[inline(always)]
fn four_bits(bits: u32) -> u32 {
    (bits * 0x0020_4081) & 0x0101_0101
}

/// Returns 2^(exponent - 128) as a half, which is 0 from 2^-25 down.
#[inline(always)]
fn half_of_power(exponent: u8) -> u16 {
    to_f16(f32::from_bits((exponent.max(2) as u32 - 1) << 23))
}

/// Returns the nearest int8 to what the numbers 0 to 3 stand for, which is d * q - m, and their scale, at most half of which
/// is the error.
#[inline(always)]
fn levels_in_int8(d: f32, m: f32) -> ([i8; 4], u16) {
    let values = [-m, d - m, 2.0 * d - m, 3.0 * d - m];
    let most = values.iter().fold(0f32, |most, value| most.max(value.abs()));
    let mut bits = to_f16(most / 127.0);
    if from_f16(bits) * 127.5 < most {
        // Scales below 2^-14 are rounded in steps that count.
        bits += 1;
    }
    (nearest_steps(values, from_f16(bits)), bits)
}

/// Returns the nearest numbers of steps of `scale` to values, halves away from 0, at most 127; 0 for a scale of 0.
#[cfg(not(target_arch = "wasm32"))]
fn nearest_steps(values: [f32; 4], scale: f32) -> [i8; 4] {
    values.map(|value| {
        let steps = if scale > 0.0 { value / scale } else { 0.0 };
        (steps + if steps < 0.0 { -0.5 } else { 0.5 }).clamp(-127.0, 127.0) as i8
    })
}

#[cfg(target_arch = "wasm32")]
#[inline(always)]
fn nearest_steps(values: [f32; 4], scale: f32) -> [i8; 4] {
    use core::arch::wasm32::*;
    if scale <= 0.0 {
        return [0; 4];
    }
    let [a, b, c, d] = values;
    let steps = f32x4_div(f32x4(a, b, c, d), f32x4_splat(scale));
    let half = v128_or(v128_and(steps, u32x4_splat(0x8000_0000)), f32x4_splat(0.5));
    let most = f32x4_splat(127.0);
    let rounded = f32x4_pmax(f32x4_pmin(f32x4_add(steps, half), most), f32x4_neg(most));
    let whole = i32x4_trunc_sat_f32x4(rounded);
    let bytes = i8x16_narrow_i16x8(i16x8_narrow_i32x4(whole, whole), whole);
    i32x4_extract_lane::<0>(bytes).to_le_bytes().map(|byte| byte as i8)
}

/// Subtracts half of their range from numbers of BITS bits, one to a byte: flips the highest bit and fills the bits above
/// it with what it then is.
#[inline(always)]
fn minus_half<const BITS: u32>(words: &mut [u32; 8]) {
    let top = 0x0101_0101u32 << (BITS - 1);
    for word in words {
        let flipped = *word ^ top;
        // A byte that has the bit takes all higher ones: 256 - 2 * top, without a carry into the next.
        let sign = (flipped & top) >> (BITS - 1);
        *word = flipped | (sign * (256 - (1 << BITS)));
    }
}

/// Replaces each byte, which is from 0 to 15, by what the table has for it.
#[inline(always)]
fn look_up(words: &mut [u32; 8], table: [i8; 16]) {
    look_up_halves(words, [table, table]);
}

/// The same with a table for the first 16 bytes and one for the others.
#[inline(always)]
fn look_up_halves(words: &mut [u32; 8], tables: [[i8; 16]; 2]) {
    #[cfg(target_arch = "wasm32")]
    for (half, table) in tables.iter().enumerate() {
        use core::arch::wasm32::*;
        // SAFETY: a half has 4 words, a table 16 bytes.
        unsafe {
            let at = words.as_mut_ptr().add(half * 4).cast();
            v128_store(at, i8x16_swizzle(v128_load(table.as_ptr().cast()), v128_load(at)));
        }
    }
    #[cfg(not(target_arch = "wasm32"))]
    for (i, word) in words.iter_mut().enumerate() {
        *word = u32::from_le_bytes(word.to_le_bytes().map(|q| tables[i / 4][q as usize & 15] as u8));
    }
}

/// Returns the 6-bit scale and minimum of sub-block `sub` of a K block, from its 12 packed bytes.
///
/// # Safety
/// 12 bytes must be readable at `at`.
#[inline(always)]
unsafe fn k_scales(at: *const u8, sub: usize) -> (u8, u8) {
    // SAFETY: as above.
    let byte = |i: usize| unsafe { *at.add(i) };
    if sub < 4 {
        return (byte(sub) & 63, byte(sub + 4) & 63);
    }
    (byte(sub + 4) & 15 | byte(sub - 4) >> 6 << 4, byte(sub + 4) >> 4 | byte(sub) >> 6 << 4)
}

/// # Safety
/// 2 bytes must be readable at `at`.
#[inline(always)]
unsafe fn half(at: *const u8) -> u16 {
    // SAFETY: as above.
    unsafe { at.cast::<u16>().read_unaligned() }
}
