//! A block of keys and values in int8, as `Dots` wants them: straight from int8 pages, or made int8 from the others.
use super::Integers;
use crate::ops::attention::block::{Block, PAGES, expand_f16};
use crate::ops::attention::{Args, BLOCK, Scratch, Segment};
use crate::ops::kv::{KvType, PAGE, scale, scale_of};
use crate::simd::dots::{BLOCK as STEP, Dots, PANEL};
use crate::simd::floats::Floats;

/// Sums that an int8 block of weights begins with, in `Dots::expand_i8`: 2 halves of 8 outputs.
const FIRST: usize = 2 * PANEL;

/// Loads the block of `keys` keys from page `first` of the segment on, as `Dots` wants it.
///
/// # Safety
/// The segment's pages are readable; `to` has room for a block.
#[inline(never)]
pub unsafe fn load<K: Dots, V: Dots<Float = K::Float>>(
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
            let (k, v) = (page.add(layout.k(head)), page.add(layout.v(head)));
            let scales = [k_scales.add(i * PAGE), v_scales.add(i * PAGE)];
            let bytes = match layout.kind {
                KvType::I8 => {
                    scales[0].copy_from(page.add(layout.k_scales(head)).cast(), PAGE);
                    scales[1].copy_from(page.add(layout.v_scales(head)).cast(), PAGE);
                    [k.cast(), v.cast()]
                }
                KvType::F32 => quantised::<K>([k.cast(), v.cast()], to, scales, head_dim),
                KvType::F16 => {
                    expand_f16::<K::Float>(to.floats[0], k.cast(), PAGE * head_dim);
                    expand_f16::<K::Float>(to.floats[1], v.cast(), PAGE * head_dim);
                    quantised::<K>(to.floats.map(|floats| floats.cast_const()), to, scales, head_dim)
                }
            };
            keys_of::<K>(to, i, bytes[0], head_dim);
            values_of::<V>(to, i, bytes[1], head_dim);
        }
        let null = core::ptr::null();
        Block { k: [null; PAGES], v: [null; PAGES], k_scales, v_scales }
    }
}

/// Makes a page of keys (head_dim, 16) and values (16, head_dim) int8, with a scale for each token.
#[inline(always)]
unsafe fn quantised<D: Dots>(
    [k, v]: [*const f32; 2],
    to: &Integers,
    [k_scales, v_scales]: [*mut f32; 2],
    head_dim: usize,
) -> [*const i8; 2] {
    let mut row = [0f32; PAGE];
    // SAFETY: a page, and room for one.
    unsafe {
        // Keys lie in lanes.
        let mut inverse = [0f32; PAGE];
        for lane in (0..PAGE).step_by(4) {
            let mut most = D::Float::splat(0.0);
            for d in 0..head_dim {
                let size = D::Float::abs(D::Float::load(k.add(d * PAGE + lane)));
                most = D::Float::pmax(most, D::Float::pmin(size, D::Float::splat(f32::MAX)));
            }
            D::Float::store(row.as_mut_ptr().add(lane), most);
        }
        for token in 0..PAGE {
            (*k_scales.add(token), inverse[token]) = scale_of(row[token]);
        }
        for d in 0..head_dim {
            for lane in (0..PAGE).step_by(8) {
                let scaled = |at: usize| {
                    D::Float::mul(D::Float::load(k.add(d * PAGE + at)), D::Float::load(inverse.as_ptr().add(at)))
                };
                D::Float::store_i8(to.page[0].add(d * PAGE + lane), scaled(lane), scaled(lane + 4));
            }
        }
        for token in 0..PAGE {
            let x = v.add(token * head_dim);
            let (scale, inverse) = scale::<D::Float>(x, head_dim);
            *v_scales.add(token) = scale;
            for d in (0..head_dim).step_by(STEP) {
                D::quantize(to.page[1].add(token * head_dim + d), x.add(d), inverse);
            }
        }
    }
    to.page.map(|page| page.cast_const())
}

/// Expands page `page` of a block: keys (head_dim, 16) become two groups of 8 outputs with head_dim k.
#[inline(always)]
unsafe fn keys_of<D: Dots>(to: &Integers, page: usize, k: *const i8, head_dim: usize) {
    let mut groups = [[0i8; STEP * PANEL]; 2];
    // SAFETY: a page, and room for a block.
    unsafe {
        let first = to.first.add(page * PAGE);
        first.write_bytes(0, PAGE);
        for block in 0..head_dim / STEP {
            for step in 0..STEP / 4 {
                let row = k.add((block * STEP + step * 4) * PAGE);
                let at = step * 4 * PANEL;
                let [a, b] = &mut groups;
                let into = [a.as_mut_ptr().add(at), b.as_mut_ptr().add(at)];
                D::weave(into, core::array::from_fn(|i| row.add(i * PAGE)));
            }
            for (i, group) in groups.iter().enumerate() {
                let at = ((page * 2 + i) * (head_dim / STEP) + block) * D::EXPANDED;
                let mut begins = [0i32; FIRST];
                D::expand_i8(to.k.add(at), group.as_ptr().cast(), begins.as_mut_ptr());
                for (key, pair) in (0..PANEL).map(|key| (key, begins[key] + begins[PANEL + key])) {
                    *first.add(i * PANEL + key) += pair;
                }
            }
        }
    }
}

/// Expands page `page` of a block: values (16, head_dim) become 4 of the 8 steps of a block of 32 k, for each 8
/// dimensions.
#[inline(always)]
unsafe fn values_of<D: Dots>(to: &Integers, page: usize, v: *const i8, head_dim: usize) {
    let half = D::EXPANDED / 2;
    let mut groups = [[0i8; STEP * PANEL]; 2];
    // SAFETY: as above.
    unsafe {
        for d in (0..head_dim).step_by(2 * PANEL) {
            for step in 0..PAGE / 4 {
                let row = v.add(step * 4 * head_dim + d);
                let at = step * 4 * PANEL;
                let [a, b] = &mut groups;
                let into = [a.as_mut_ptr().add(at), b.as_mut_ptr().add(at)];
                D::weave(into, core::array::from_fn(|i| row.add(i * head_dim)));
            }
            for (i, group) in groups.iter().enumerate() {
                // Expanded as a whole block, of which the first half counts: the other is the next page's.
                let mut block = [0u8; MOST_EXPANDED];
                let mut begins = [0i32; FIRST];
                D::expand_i8(block.as_mut_ptr(), group.as_ptr().cast(), begins.as_mut_ptr());
                let at = (d / PANEL + i) * (BLOCK / STEP) * D::EXPANDED + page * half;
                to.v.add(at).copy_from_nonoverlapping(block.as_ptr(), half);
            }
        }
    }
}

/// Bytes of an expanded block, at most.
const MOST_EXPANDED: usize = 512;
