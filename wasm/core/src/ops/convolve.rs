//! Computes short causal convolutions over KV pages, which hold a layer's inputs in place of K and V: the first half of
//! the channels as K, the second as V. A unit of work is a row.
//!
//! A row's arithmetic depends on the inputs up to its own position alone, and it reads all of them from pages. So packing,
//! chunking and prefix reuse change no bit.
use super::kv::{Layout, PAGE, read};
use crate::simd::floats::Floats;

/// Largest size of a head.
const DIM: usize = 256;

pub struct Args {
    /// Shape (rows, 2 * kv_heads * head_dim), rows `x_stride` apart.
    pub x: *mut f32,
    pub x_stride: usize,
    /// Shape (taps, 2 * kv_heads * head_dim), the oldest token first.
    pub weights: *const f32,
    pub taps: usize,
    pub layout: Layout,
    pub layer_base: *const u8,
    pub page_bytes: usize,
    /// Holds {start, length, past, first entry of the page table} per segment.
    pub segments: *const [u32; 4],
    pub segment_count: usize,
    pub page_table: *const u32,
}

/// Multiplies rows `lo..hi` by their convolutions.
///
/// # Safety
/// Everything that `args` points to must be as described.
pub unsafe fn body<I: Floats>(args: &Args, lo: usize, hi: usize, _: *mut u8) {
    for index in 0..args.segment_count {
        // SAFETY: the caller guarantees `segment_count` segments, their page lists, and their rows.
        unsafe {
            let [start, length, past, table] = (*args.segments.add(index)).map(|word| word as usize);
            let pages = args.page_table.add(table);
            for row in lo.max(start)..hi.min(start + length) {
                convolve_row::<I>(args, args.x.add(row * args.x_stride), past + row - start, pages);
            }
        }
    }
}

unsafe fn convolve_row<I: Floats>(args: &Args, x: *mut f32, position: usize, pages: *const u32) {
    let Args { taps, layout, .. } = args;
    let (heads, dim) = (layout.kv_heads, layout.head_dim);
    let channels = 2 * heads * dim;
    // The number of tokens before the row's own that it sees.
    let before = position.min(taps - 1);
    let mut inputs = [0f32; DIM];
    let mut sums = [0f32; DIM];
    for part in 0..2 * heads {
        let (head, of_v) = (part % heads, part >= heads);
        // SAFETY: as for `body`; a head is at most `DIM` long.
        unsafe {
            sums[..dim].fill(0.0);
            for back in (0..=before).rev() {
                let at = position - back;
                let page = args.layer_base.wrapping_add(*pages.add(at / PAGE) as usize * args.page_bytes);
                read::<I>(layout, page, at % PAGE, head, of_v, inputs.as_mut_ptr());
                let weights = args.weights.add((taps - 1 - back) * channels + part * dim);
                for d in (0..dim).step_by(4) {
                    let sum = I::load(sums.as_ptr().add(d));
                    let term = I::mul_add(I::load(weights.add(d)), I::load(inputs.as_ptr().add(d)), sum);
                    I::store(sums.as_mut_ptr().add(d), term);
                }
            }
            for d in (0..dim).step_by(4) {
                let x = x.add(part * dim + d);
                I::store(x, I::mul(I::load(x), I::load(sums.as_ptr().add(d))));
            }
        }
    }
}
