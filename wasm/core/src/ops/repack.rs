//! Repacks rows of a file's tensor into panels of 8 outputs (layouts in lib.rs).
//!
//!     for each panel, for each block of 32 k:
//!         read the block of each of the 8 rows: scale, minimum (or second scale), 32 numbers
//!         interleave: 4 k of output 0, 4 k of output 1, ...
use super::weight::{self, BF16, F16, F32, I8, I8M, I8S, U4, block_bytes, head_bytes, panel_bytes};
use crate::simd::dots::{BLOCK, PANEL};

/// Types in the file, numbered as in `backend/wasm/abi.ts`.
pub const Q4_0: u32 = 3;
pub const Q4_1: u32 = 4;
pub const Q5_0: u32 = 5;
pub const Q5_1: u32 = 6;
pub const Q8_0: u32 = 7;
pub const Q4_K: u32 = 8;
pub const Q5_K: u32 = 9;
pub const Q6_K: u32 = 10;

/// Returns the weight kind for a file type; `u32::MAX` for an unknown one.
pub const fn kind_of(source: u32) -> u32 {
    match source {
        0 => F32,
        1 => F16,
        2 => BF16,
        Q4_0 | Q4_1 | Q4_K => U4,
        Q5_0 | Q8_0 => I8,
        Q5_1 | Q5_K => I8M,
        Q6_K => I8S,
        _ => u32::MAX,
    }
}

/// Returns the bytes of `k` elements in the file.
pub const fn row_bytes(source: u32, k: usize) -> usize {
    match source {
        0 => k * 4,
        1 | 2 => k * 2,
        Q4_0 => k / 32 * 18,
        Q4_1 => k / 32 * 20,
        Q5_0 => k / 32 * 22,
        Q5_1 => k / 32 * 24,
        Q8_0 => k / 32 * 34,
        Q4_K => k / 256 * 144,
        Q5_K => k / 256 * 176,
        _ => k / 256 * 210,
    }
}

const fn block_elements(source: u32) -> usize {
    match source {
        0..=2 => 1,
        Q4_K | Q5_K | Q6_K => 256,
        _ => 32,
    }
}

/// Rows `first..first + rows` of a file's tensor at `src`, and the weight (n, k) at `dst` that takes them.
pub struct Args {
    pub source: u32,
    pub dst: *mut u8,
    pub src: *const u8,
    pub first: usize,
    pub rows: usize,
    pub n: usize,
    pub k: usize,
}

impl Args {
    /// Whether `first` is a multiple of 8, and `rows` too, unless they are the last, and the type has such rows.
    pub fn sound(&self) -> bool {
        let &Args { source, first, rows, n, k, .. } = self;
        let last = first + rows;
        kind_of(source) != u32::MAX
            && k.is_multiple_of(block_elements(source))
            && first.is_multiple_of(PANEL)
            && last <= n
            && (rows.is_multiple_of(PANEL) || last == n)
    }

    pub fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }
}

/// Writes panels `lo..hi` of these rows.
///
/// # Safety
/// The arguments must be sound; `src` must hold the rows, `dst` `weight_bytes` bytes.
pub unsafe fn body(args: &Args, lo: usize, hi: usize, _scratch: *mut u8) {
    let &Args { source, dst, src, first, rows, k, .. } = args;
    let bytes = row_bytes(source, k);
    let panel_bytes = panel_bytes(kind_of(source), k);
    for panel in lo..hi {
        let row = panel * PANEL;
        let count = PANEL.min(rows - row);
        // SAFETY: as for this function.
        unsafe {
            let to = dst.add((first / PANEL + panel) * panel_bytes);
            let from = src.add(row * bytes);
            match source {
                0 => floats::<4>(to, from, count, bytes, k),
                1 | 2 => floats::<2>(to, from, count, bytes, k),
                Q4_0 => integers::<Q4_0, U4>(to, from, count, bytes, k),
                Q4_1 => integers::<Q4_1, U4>(to, from, count, bytes, k),
                Q5_0 => integers::<Q5_0, I8>(to, from, count, bytes, k),
                Q5_1 => integers::<Q5_1, I8M>(to, from, count, bytes, k),
                Q8_0 => integers::<Q8_0, I8>(to, from, count, bytes, k),
                Q4_K => integers::<Q4_K, U4>(to, from, count, bytes, k),
                Q5_K => integers::<Q5_K, I8M>(to, from, count, bytes, k),
                _ => integers::<Q6_K, I8S>(to, from, count, bytes, k),
            }
        }
    }
}

/// Transposes elements of SIZE bytes: (count, k) to (k, 8).
///
/// # Safety
/// As `repack`, for one panel.
unsafe fn floats<const SIZE: usize>(to: *mut u8, from: *const u8, count: usize, bytes: usize, k: usize) {
    for output in 0..PANEL {
        for i in 0..k {
            // SAFETY: as above.
            unsafe {
                let at = to.add((i * PANEL + output) * SIZE).cast::<[u8; SIZE]>();
                let value = if output < count { *from.add(output * bytes + i * SIZE).cast() } else { [0; SIZE] };
                *at = value;
            }
        }
    }
}

/// # Safety
/// As `repack`, for one panel.
unsafe fn integers<const SOURCE: u32, const KIND: u32>(
    to: *mut u8,
    from: *const u8,
    count: usize,
    bytes: usize,
    k: usize,
) {
    for block in 0..k / BLOCK {
        let mut quants = [[0u32; 8]; PANEL];
        // SAFETY: as above.
        unsafe {
            let to = to.add(block * block_bytes(KIND));
            for output in 0..PANEL {
                let mut head = [0u16; 2];
                if output < count {
                    head = read::<SOURCE>(from.add(output * bytes), block, &mut quants[output]);
                }
                to.cast::<u16>().add(output).write_unaligned(head[0]);
                if head_bytes(KIND) == 32 {
                    to.cast::<u16>().add(PANEL + output).write_unaligned(head[1]);
                }
            }
            interleave::<KIND>(to.add(head_bytes(KIND)).cast(), &quants);
        }
    }
}

/// Writes the numbers of a block, 4 to a word: for each 4 k, the words of all outputs. U4 joins outputs o and o + 4 in one
/// word.
///
/// # Safety
/// `to` must hold a block of `KIND`.
#[cfg(not(target_arch = "wasm32"))]
unsafe fn interleave<const KIND: u32>(to: *mut u32, quants: &[[u32; 8]; PANEL]) {
    for step in 0..8 {
        // SAFETY: as above.
        unsafe {
            if KIND == U4 {
                for output in 0..4 {
                    let pair = quants[output][step] | quants[output + 4][step] << 4;
                    to.add(step * 4 + output).write_unaligned(pair);
                }
            } else {
                for output in 0..PANEL {
                    to.add(step * PANEL + output).write_unaligned(quants[output][step]);
                }
            }
        }
    }
}

/// The same by transposing squares of 4 outputs x 4 words.
///
/// # Safety
/// As above.
#[cfg(target_arch = "wasm32")]
#[inline(always)]
unsafe fn interleave<const KIND: u32>(to: *mut u32, quants: &[[u32; 8]; PANEL]) {
    use core::arch::wasm32::*;
    let outputs = if KIND == U4 { 4 } else { PANEL };
    for half in [0, 4] {
        for first in (0..outputs).step_by(4) {
            // SAFETY: as above; each row of `quants` has 8 words.
            unsafe {
                let row = |output: usize| -> v128 {
                    let words = v128_load(quants[output].as_ptr().add(half).cast());
                    if KIND != U4 {
                        return words;
                    }
                    v128_or(words, u32x4_shl(v128_load(quants[output + 4].as_ptr().add(half).cast()), 4))
                };
                let [a, b, c, d] = [row(first), row(first + 1), row(first + 2), row(first + 3)];
                let (ab, cd) = (u32x4_shuffle::<0, 4, 1, 5>(a, b), u32x4_shuffle::<0, 4, 1, 5>(c, d));
                let (ef, gh) = (u32x4_shuffle::<2, 6, 3, 7>(a, b), u32x4_shuffle::<2, 6, 3, 7>(c, d));
                let steps = [
                    u64x2_shuffle::<0, 2>(ab, cd),
                    u64x2_shuffle::<1, 3>(ab, cd),
                    u64x2_shuffle::<0, 2>(ef, gh),
                    u64x2_shuffle::<1, 3>(ef, gh),
                ];
                for (step, words) in steps.into_iter().enumerate() {
                    v128_store(to.add((half + step) * outputs + first).cast(), words);
                }
            }
        }
    }
}

/// Reads block `block` of 32 of a row: its numbers, 4 to a word, and its scale and minimum (or second scale).
///
/// # Safety
/// The row must have such a block.
#[inline(always)]
unsafe fn read<const SOURCE: u32>(row: *const u8, block: usize, words: &mut [u32; 8]) -> [u16; 2] {
    // SAFETY: as above, in every format.
    unsafe {
        match SOURCE {
            Q4_0 | Q4_1 => {
                let at = row.add(block * row_bytes(SOURCE, BLOCK));
                let d = half(at);
                nibbles(at.add(if SOURCE == Q4_0 { 2 } else { 4 }), words);
                [d, if SOURCE == Q4_0 { minus_eight_times(d) } else { half(at.add(2)) }]
            }
            Q5_0 | Q5_1 => {
                let at = row.add(block * row_bytes(SOURCE, BLOCK));
                let body = at.add(if SOURCE == Q5_0 { 2 } else { 4 });
                let high = body.cast::<u32>().read_unaligned();
                nibbles(body.add(4), words);
                fifth(words, |i| high >> i & 1);
                if SOURCE == Q5_0 {
                    map(words, |q| q.wrapping_sub(16));
                }
                [half(at), if SOURCE == Q5_0 { 0 } else { half(at.add(2)) }]
            }
            Q8_0 => {
                let at = row.add(block * row_bytes(SOURCE, BLOCK));
                *words = at.add(2).cast::<[u32; 8]>().read_unaligned();
                [half(at), 0]
            }
            Q4_K | Q5_K => {
                let at = row.add(block / 8 * row_bytes(SOURCE, 256));
                let sub = block % 8;
                let quants = at.add(if SOURCE == Q4_K { 16 } else { 48 }).add(sub / 2 * 32);
                for (i, word) in words.iter_mut().enumerate() {
                    let four = quants.cast::<u32>().add(i).read_unaligned();
                    *word = four >> (sub % 2 * 4) & 0x0f0f_0f0f;
                }
                if SOURCE == Q5_K {
                    let high = at.add(16);
                    fifth(words, |i| *high.add(i) as u32 >> sub & 1);
                }
                let (scale, min) = k_scales(at.add(4), sub);
                let d = from_f16(half(at)) * scale as f32;
                let m = from_f16(half(at.add(2))) * min as f32;
                [to_f16(d), to_f16(-m)]
            }
            _ => {
                let at = row.add(block / 8 * row_bytes(Q6_K, 256));
                let (part, run) = (block % 8 / 4, block % 4);
                let low = at.add(part * 64 + run % 2 * 32);
                let high = at.add(128 + part * 32);
                for (i, word) in words.iter_mut().enumerate() {
                    let nibble = low.cast::<u32>().add(i).read_unaligned() >> (run / 2 * 4) & 0x0f0f_0f0f;
                    let bits = high.cast::<u32>().add(i).read_unaligned() >> (run * 2) & 0x0303_0303;
                    *word = nibble | bits << 4;
                }
                map(words, |q| q.wrapping_sub(32));
                let d = from_f16(half(at.add(208)));
                let scale = |i: usize| to_f16(d * *at.add(192 + block % 8 * 2 + i).cast::<i8>() as f32);
                [scale(0), scale(1)]
            }
        }
    }
}

/// Unpacks 16 bytes of nibbles: elements 0..16 from the low ones, 16..32 from the high ones.
///
/// # Safety
/// 16 bytes must be readable at `at`.
#[inline(always)]
unsafe fn nibbles(at: *const u8, words: &mut [u32; 8]) {
    for i in 0..4 {
        // SAFETY: as above.
        let four = unsafe { at.cast::<u32>().add(i).read_unaligned() };
        words[i] = four & 0x0f0f_0f0f;
        words[i + 4] = four >> 4 & 0x0f0f_0f0f;
    }
}

/// Adds 16 to the elements whose `bit` is 1.
#[inline(always)]
fn fifth(words: &mut [u32; 8], bit: impl Fn(usize) -> u32) {
    for i in 0..BLOCK {
        words[i / 4] |= bit(i) << (i % 4 * 8 + 4);
    }
}

/// Maps each byte.
#[inline(always)]
fn map(words: &mut [u32; 8], change: impl Fn(u8) -> u8) {
    for word in words {
        *word = u32::from_le_bytes(word.to_le_bytes().map(&change));
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

/// Multiplies a half by -8. Most have an exponent that can rise by 3.
#[inline(always)]
fn minus_eight_times(bits: u16) -> u16 {
    match bits >> 10 & 31 {
        1..=27 => (bits + (3 << 10)) ^ 0x8000,
        _ => to_f16(from_f16(bits) * -8.0),
    }
}

/// Converts a half to a float, exactly.
#[inline(always)]
pub fn from_f16(bits: u16) -> f32 {
    let bits = bits as u32;
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
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

/// Returns element (row, i) of a weight in panels.
///
/// # Safety
/// `w` must be a weight of `kind` with `k` columns that has the row.
pub unsafe fn element(w: *const u8, kind: u32, row: usize, i: usize, k: usize) -> f32 {
    let output = row % PANEL;
    // SAFETY: as above.
    unsafe {
        let panel = w.add(row / PANEL * panel_bytes(kind, k));
        match kind {
            F32 => *panel.cast::<f32>().add(i * PANEL + output),
            F16 => from_f16(*panel.cast::<u16>().add(i * PANEL + output)),
            BF16 => f32::from_bits((*panel.cast::<u16>().add(i * PANEL + output) as u32) << 16),
            _ => {
                let block = panel.add(i / BLOCK * block_bytes(kind));
                let (step, byte) = (i % BLOCK / 4, i % 4);
                let scale = |at: usize| from_f16(*block.cast::<u16>().add(at * PANEL + output));
                let body = block.add(head_bytes(kind));
                if kind == U4 {
                    let pair = *body.add(step * 16 + output % 4 * 4 + byte);
                    let q = if output < 4 { pair & 15 } else { pair >> 4 };
                    return scale(0) * q as f32 + scale(1);
                }
                let q = *body.add(step * 32 + output * 4 + byte).cast::<i8>() as f32;
                match kind {
                    weight::I8S => scale(step / 4) * q,
                    weight::I8M => scale(0) * q + scale(1),
                    _ => scale(0) * q,
                }
            }
        }
    }
}
