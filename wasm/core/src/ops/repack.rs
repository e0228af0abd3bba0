//! Repacks rows of a file's tensor into panels of 8 outputs (layouts in lib.rs).
//!
//!     for each panel, for each block of 32 k:
//!         read the block of each of the 8 rows: scale, minimum (or second scale), 32 numbers
//!         interleave: 4 k of output 0, 4 k of output 1, ...
pub use super::blocks::{
    IQ4_NL, IQ4_XS, MXFP4, Q1_0, Q2_0, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, TQ1_0, TQ2_0,
    kind_of, row_bytes,
};
use super::blocks::{block_elements, gives_floats, read};
use super::halves;
pub use super::halves::{from_f16, to_f16};
use super::weight::{self, BF16, F16, F32, I8, I8M, I8S, U4, block_bytes, head_bytes, panel_bytes};
use crate::simd::dots::{BLOCK, PANEL};

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
                IQ4_NL => integers::<IQ4_NL, I8>(to, from, count, bytes, k),
                IQ4_XS => integers::<IQ4_XS, I8>(to, from, count, bytes, k),
                MXFP4 => integers::<MXFP4, I8>(to, from, count, bytes, k),
                Q2_K => integers::<Q2_K, I8S>(to, from, count, bytes, k),
                Q3_K => integers::<Q3_K, I8S>(to, from, count, bytes, k),
                Q1_0 => integers::<Q1_0, U4>(to, from, count, bytes, k),
                Q2_0 => integers::<Q2_0, U4>(to, from, count, bytes, k),
                TQ1_0 => integers::<TQ1_0, U4>(to, from, count, bytes, k),
                TQ2_0 => integers::<TQ2_0, U4>(to, from, count, bytes, k),
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
            let mut heads = [[0u32; PANEL]; 2];
            for output in 0..count {
                let [scale, other] = read::<SOURCE>(from.add(output * bytes), block, &mut quants[output]);
                (heads[0][output], heads[1][output]) = (scale, other);
            }
            let scales = if gives_floats(SOURCE) { halves::of_floats(&heads[0]) } else { halves::of_words(&heads[0]) };
            to.cast::<[u16; PANEL]>().write_unaligned(scales);
            if head_bytes(KIND) == 32 {
                let others = match SOURCE {
                    Q4_0 => halves::minus_eight_times(scales),
                    _ if gives_floats(SOURCE) => halves::of_floats(&heads[1]),
                    _ => halves::of_words(&heads[1]),
                };
                to.cast::<[u16; PANEL]>().add(1).write_unaligned(others);
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
