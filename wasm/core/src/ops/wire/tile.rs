//! Copies a group's tokens out of their pages as a tile of floats, and back: K (head_dim, 32), V (32, head_dim).
use super::codes::{load_halves, store_bytes, store_halves, token_scales};
use super::{Args, GROUP, Group, Part};
use crate::ops::kv::{KvType, Layout, PAGE};
use crate::simd::floats::Floats;

/// Copies int8 pages: `copy(page, offset in it, offset on the wire, bytes)` per run of bytes, scales included.
pub unsafe fn verbatim(args: &Args, unit: usize, group: Group, copy: impl Fn(*mut u8, usize, usize, usize)) {
    let Layout { head_dim: dim, .. } = args.layout;
    let head = unit / 2;
    let n = group.n;
    for first in (0..n).step_by(PAGE) {
        let count = PAGE.min(n - first);
        // SAFETY: the table has the group's pages.
        let page = unsafe { page_at(args, group.page + first / PAGE) };
        match Part::of(unit) {
            Part::K => {
                copy(page, args.layout.k_scales(head), 4 * first, 4 * count);
                for d in 0..dim {
                    copy(page, args.layout.k(head) + d * PAGE, 4 * n + d * n + first, count);
                }
            }
            Part::V => {
                copy(page, args.layout.v_scales(head), 4 * first, 4 * count);
                copy(page, args.layout.v(head), 4 * n + first * dim, count * dim);
            }
        }
    }
}

unsafe fn page_at(args: &Args, index: usize) -> *mut u8 {
    // SAFETY: the caller's table and pool.
    unsafe { args.layer_base.wrapping_add(*args.pages.add(index) as usize * args.page_bytes) }
}

/// Loads a group's values from its pages. Tokens after its last are zeros.
#[inline(never)]
pub unsafe fn load_tile<I: Floats>(args: &Args, unit: usize, group: Group, tile: *mut f32) {
    let Layout { kind, head_dim: dim, .. } = args.layout;
    let head = unit / 2;
    // SAFETY: the table has the group's pages; offsets stay within one layer's part of a page.
    unsafe {
        for first in (0..group.n).step_by(PAGE) {
            let count = PAGE.min(group.n - first);
            let page = page_at(args, group.page + first / PAGE);
            match Part::of(unit) {
                Part::K => {
                    let from = page.add(args.layout.k(head));
                    let scales = page.add(args.layout.k_scales(head)).cast::<f32>();
                    for d in 0..dim {
                        let to = tile.add(d * GROUP + first);
                        match kind {
                            KvType::F32 => to.copy_from_nonoverlapping(from.cast::<f32>().add(d * PAGE), PAGE),
                            KvType::F16 => load_halves::<I>(to, from.add(d * PAGE * 2), PAGE),
                            KvType::I8 => {
                                let values = I::load_i8(from.cast::<i8>().add(d * PAGE));
                                for (i, four) in values.into_iter().enumerate() {
                                    I::store(to.add(4 * i), I::mul(four, I::load(scales.add(4 * i))));
                                }
                            }
                        }
                        for token in count..PAGE {
                            *to.add(token) = 0.0;
                        }
                    }
                }
                Part::V => {
                    let from = page.add(args.layout.v(head));
                    let scales = page.add(args.layout.v_scales(head)).cast::<f32>();
                    let to = tile.add(first * dim);
                    match kind {
                        KvType::F32 => to.copy_from_nonoverlapping(from.cast(), count * dim),
                        KvType::F16 => load_halves::<I>(to, from, count * dim),
                        KvType::I8 => {
                            for token in 0..count {
                                let scale = *scales.add(token);
                                for d in 0..dim {
                                    *to.add(token * dim + d) = *from.cast::<i8>().add(token * dim + d) as f32 * scale;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Stores a group's values into its pages; other tokens of the last page keep theirs.
#[inline(never)]
pub unsafe fn store_tile<I: Floats>(args: &Args, unit: usize, group: Group, tile: *mut f32) {
    let Layout { kind, head_dim: dim, .. } = args.layout;
    let (head, part) = (unit / 2, Part::of(unit));
    // SAFETY: as for `load_tile`; scales lie behind the tile.
    unsafe {
        let scales = tile.add(dim * GROUP);
        let inverses = scales.add(GROUP);
        if kind == KvType::I8 {
            token_scales::<I>(part, dim, group.n, tile, scales, inverses);
        }
        for first in (0..group.n).step_by(PAGE) {
            let count = PAGE.min(group.n - first);
            let page = page_at(args, group.page + first / PAGE);
            if kind == KvType::I8 {
                let to = if part == Part::K { args.layout.k_scales(head) } else { args.layout.v_scales(head) };
                page.add(to).cast::<f32>().copy_from_nonoverlapping(scales.add(first), count);
            }
            match part {
                Part::K => {
                    let to = page.add(args.layout.k(head));
                    for d in 0..dim {
                        let from = tile.add(d * GROUP + first);
                        match kind {
                            KvType::F32 => to.cast::<f32>().add(d * PAGE).copy_from_nonoverlapping(from, count),
                            KvType::F16 => store_halves::<I>(to.add(d * PAGE * 2), from, count),
                            KvType::I8 => {
                                let mut row = [0i8; PAGE];
                                for i in (0..PAGE).step_by(8) {
                                    let scaled = |i| I::mul(I::load(from.add(i)), I::load(inverses.add(first + i)));
                                    I::store_i8(row.as_mut_ptr().add(i), scaled(i), scaled(i + 4));
                                }
                                to.cast::<i8>().add(d * PAGE).copy_from_nonoverlapping(row.as_ptr(), count);
                            }
                        }
                    }
                }
                Part::V => {
                    let to = page.add(args.layout.v(head));
                    let from = tile.add(first * dim);
                    match kind {
                        KvType::F32 => to.cast::<f32>().copy_from_nonoverlapping(from, count * dim),
                        KvType::F16 => store_halves::<I>(to, from, count * dim),
                        KvType::I8 => store_bytes::<I>(part, dim, count, from, inverses.add(first), to),
                    }
                }
            }
        }
    }
}
