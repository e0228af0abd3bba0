//! A block of int8 keys and values from int8 pages, as `Dots` wants it.
use super::{Int, Integers, OFFSET};
use crate::ops::attention::block::{Block, PAGES};
use crate::ops::attention::{Args, BLOCK, Scratch, Segment};
use crate::ops::kv::PAGE;
use crate::simd::dots::{BLOCK as STEP, Dots, PANEL};

/// Largest head.
const MOST: usize = 256;

/// Loads the block of `keys` keys from page `first` of the segment on. Scales of places behind them are 0, since nothing
/// was written there.
///
/// # Safety
/// The segment's pages must be readable, and `to` have room for a block.
#[inline(never)]
pub unsafe fn load(
    args: &Args,
    segment: &Segment,
    head: usize,
    first: usize,
    keys: usize,
    scratch: &Scratch,
    to: &Integers,
) -> Block {
    let layout = args.layout;
    let head_dim = layout.head_dim;
    // SAFETY: pages below keys / 16 are listed and readable; room as `Integers` has it.
    unsafe {
        let k_scales = scratch.expanded.add(2 * BLOCK * head_dim);
        let v_scales = k_scales.add(BLOCK);
        for i in 0..keys.div_ceil(PAGE) {
            let page = args.layer_base.wrapping_add(*segment.pages.add(first + i) as usize * args.page_bytes);
            k_scales.add(i * PAGE).copy_from(page.add(layout.k_scales(head)).cast(), PAGE);
            v_scales.add(i * PAGE).copy_from(page.add(layout.v_scales(head)).cast(), PAGE);
            keys_of(to, i, page.add(layout.k(head)).cast(), head_dim);
            values_of(to, i, page.add(layout.v(head)).cast(), head_dim);
        }
        for scales in [k_scales, v_scales] {
            scales.add(keys).write_bytes(0, BLOCK - keys);
        }
        let null = core::ptr::null();
        Block { k: [null; PAGES], v: [null; PAGES], k_scales, v_scales }
    }
}

/// Expands page `page` of a block: keys (head_dim, 16) become two groups of 8 outputs with head_dim k.
#[inline(always)]
unsafe fn keys_of(to: &Integers, page: usize, k: *const i8, head_dim: usize) {
    let ones = [1i8; MOST];
    // SAFETY: a page, and room for a block.
    unsafe {
        let groups = [0, 1].map(|group| to.k.add((page * 2 + group) * head_dim * PANEL));
        for step in 0..head_dim / 4 {
            let row = k.add(step * 4 * PAGE);
            let into = groups.map(|group| group.add(step * 4 * PANEL).cast());
            Int::weave(into, core::array::from_fn(|i| row.add(i * PAGE)));
        }
        for (i, group) in groups.into_iter().enumerate() {
            let mut sums = [[Int::zero(); 2]; 1];
            Int::dots::<1>(&mut sums, ones.as_ptr(), group, 0, head_dim / 4);
            for (half, sum) in sums[0].into_iter().enumerate() {
                let first = to.first.add(page * PAGE + i * PANEL + half * 4);
                Int::store_sums(first, sum);
                for key in 0..4 {
                    *first.add(key) *= -(OFFSET as i32);
                }
            }
        }
    }
}

/// Expands page `page` of a block: values (16, head_dim) become 4 of the 8 steps of a block of 32 k, for each 8
/// dimensions.
#[inline(always)]
unsafe fn values_of(to: &Integers, page: usize, v: *const i8, head_dim: usize) {
    // SAFETY: as above.
    unsafe {
        for d in (0..head_dim).step_by(2 * PANEL) {
            for step in 0..PAGE / 4 {
                let row = v.add(step * 4 * head_dim + d);
                let at = |group: usize| (group * (BLOCK / STEP) * STEP + page * PAGE + step * 4) * PANEL;
                let into = [d / PANEL, d / PANEL + 1].map(|group| to.v.add(at(group)).cast());
                Int::weave(into, core::array::from_fn(|i| row.add(i * head_dim)));
            }
        }
    }
}
