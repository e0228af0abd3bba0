//! A block of keys and values as f32, straight from f32 pages or expanded from the others.
use super::{Args, BLOCK, Segment};
use crate::ops::kv::{KvType, PAGE};
use crate::simd::floats::Floats;

pub const PAGES: usize = BLOCK / PAGE;

#[derive(Clone, Copy)]
pub struct Block {
    /// Per page: K (head_dim, 16).
    pub k: [*const f32; PAGES],
    /// Per page: V (16, head_dim).
    pub v: [*const f32; PAGES],
    /// int8 only, else null: (BLOCK) scales of the keys and of the values.
    pub k_scales: *const f32,
    pub v_scales: *const f32,
}

/// The block of `keys` keys from page `first` of the segment on. Scales stay apart: they go into scores and weights,
/// which are fewer than elements.
///
/// # Safety
/// The segment's pages are readable; `expanded` has room for K, V and scales of a block.
pub unsafe fn load<I: Floats>(
    args: &Args,
    segment: &Segment,
    head: usize,
    first: usize,
    keys: usize,
    expanded: *mut f32,
) -> Block {
    let layout = args.layout;
    let size = PAGE * layout.head_dim;
    let null = core::ptr::null();
    let mut block = Block { k: [null; PAGES], v: [null; PAGES], k_scales: null, v_scales: null };
    // SAFETY: pages below keys / 16 are listed and readable; room as asked for.
    unsafe {
        let k_scales = expanded.add(2 * BLOCK * layout.head_dim);
        let v_scales = k_scales.add(BLOCK);
        for i in 0..keys.div_ceil(PAGE) {
            let page = args.layer_base.wrapping_add(*segment.pages.add(first + i) as usize * args.page_bytes);
            let (k, v) = (page.add(layout.k(head)), page.add(layout.v(head)));
            if layout.kind == KvType::F32 {
                block.k[i] = k.cast();
                block.v[i] = v.cast();
                continue;
            }
            let k_to = expanded.add(2 * i * size);
            let v_to = k_to.add(size);
            if layout.kind == KvType::F16 {
                expand_f16::<I>(k_to, k.cast(), size);
                expand_f16::<I>(v_to, v.cast(), size);
            } else {
                expand_i8::<I>(k_to, k.cast(), size);
                expand_i8::<I>(v_to, v.cast(), size);
                k_scales.add(i * PAGE).copy_from(page.add(layout.k_scales(head)).cast(), PAGE);
                v_scales.add(i * PAGE).copy_from(page.add(layout.v_scales(head)).cast(), PAGE);
            }
            block.k[i] = k_to;
            block.v[i] = v_to;
        }
        if layout.kind == KvType::I8 {
            block.k_scales = k_scales;
            block.v_scales = v_scales;
        }
    }
    block
}

unsafe fn expand_f16<I: Floats>(to: *mut f32, from: *const u16, count: usize) {
    for i in (0..count).step_by(8) {
        // SAFETY: count is a multiple of 16, both have `count` elements.
        unsafe {
            let (low, high) = I::load_f16(from.add(i));
            I::store(to.add(i), low);
            I::store(to.add(i + 4), high);
        }
    }
}

unsafe fn expand_i8<I: Floats>(to: *mut f32, from: *const i8, count: usize) {
    for i in (0..count).step_by(16) {
        // SAFETY: as above.
        unsafe {
            let quarters = I::load_i8(from.add(i));
            for (j, quarter) in quarters.into_iter().enumerate() {
                I::store(to.add(i + 4 * j), quarter);
            }
        }
    }
}
