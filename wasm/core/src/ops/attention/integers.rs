//! Attention in integers: queries, keys and values in int8, weights of values in 7 bits.
//!
//!     score  = float(q8 . k8) * (scale of the row * scale of the key)
//!     weight = 2^(score - max), the sums as in floats
//!     w7     = round(weight * scale of the value * 127 / the largest of the row in the block)
//!     out    = out * carry + float(w7 . v8) * (largest / 127)
//!
//! Each query row, each key and each value has a scale, and so have one row's weights in a block of keys at absolute
//! positions. As with floats, a row's bits depend neither on the rows beside it nor on how a prompt is cut into passes.
//! int8 pages are read as they are; others are made int8 block by block, once for all rows of a unit. Windows hide keys
//! as in floats: a hidden key's weight is 0.
mod block;

use super::block::Block;
use super::{Args, BLOCK, Scratch, Unit, tile_rows, tiles};
use crate::ops::kv::{self, PAGE, scale_of};
use crate::pool::Body;
use crate::simd::dots::{BLOCK as STEP, Dots, PANEL};
use crate::simd::floats::Floats;

/// Returns whether integers can compute heads of `head_dim` dimensions: the products take 32 at a time.
pub const fn fits(head_dim: usize) -> bool {
    head_dim.is_multiple_of(STEP)
}

/// Returns the body for an engine with this `lowering` of the relaxed dot.
pub fn body_for(lowering: u32) -> Body<Args> {
    #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
    {
        // With a second operand of 0..=127 every lowering is exact.
        use crate::simd::dots::{Signed, Unsigned};
        match lowering {
            1 => return body::<Unsigned, Signed>,
            2 => return body::<Signed, Signed>,
            _ => {}
        }
    }
    let _ = lowering;
    #[cfg(target_arch = "wasm32")]
    return body::<crate::simd::dots::Wide, crate::simd::dots::Wide>;
    #[cfg(not(target_arch = "wasm32"))]
    body::<crate::simd::floats::Scalar, crate::simd::floats::Scalar>
}

type Lanes<D> = <<D as Dots>::Float as Floats>::F;

/// Where a unit keeps its integers, all within the scratch that floats would take.
struct Integers {
    /// (rows / 4; head_dim / 4, 4 rows, 4)
    q: *mut i8,
    /// Scale of each row, times the scale of scores and log2(e).
    q_scales: *mut f32,
    /// (BLOCK / 4, 4 rows, 4 keys): a quad's weights.
    weights: *mut i8,
    /// (BLOCK / 8; head_dim / 32) blocks as `Dots` wants them: outputs are keys.
    k: *mut u8,
    /// (head_dim / 8; BLOCK / 32) blocks: outputs are dimensions, k are keys.
    v: *mut u8,
    /// What the sum of each key begins with.
    first: *mut i32,
    /// Room for a page of keys, one of values, in int8.
    page: [*mut i8; 2],
    /// Room for a page's keys and values in f32.
    floats: [*mut f32; 2],
}

/// Does units `lo..hi`. `K` multiplies int8 by int8, `V` int8 by 0..=127.
///
/// # Safety
/// As `super::body`; `fits(head_dim)`.
pub unsafe fn body<K: Dots, V: Dots<Float = K::Float>>(args: &Args, lo: usize, hi: usize, scratch: *mut u8) {
    super::units(args, lo, hi, |unit| {
        // SAFETY: as for this function.
        unsafe { run::<K, V>(unit, scratch.cast()) }
    });
}

unsafe fn run<K: Dots, V: Dots<Float = K::Float>>(unit: &Unit, scratch: *mut f32) {
    let head_dim = unit.args.layout.head_dim;
    let rows = unit.tokens * unit.args.group();
    let quads = rows.div_ceil(4);
    // SAFETY: the layout is the one `scratch_bytes` counts.
    unsafe {
        let scratch = Scratch::at(scratch, unit.args);
        let to = Integers::at(&scratch, unit.args);
        pack::<K>(unit, &scratch, &to, quads * 4);
        let last = unit.position(rows - 1);
        // Blocks before the first row's window are before all windows.
        let first = unit.hidden(0) / BLOCK * BLOCK;
        for start in (first..=last).step_by(BLOCK) {
            let keys = BLOCK.min(last + 1 - start);
            let block = block::load::<K, V>(unit.args, &unit.segment, unit.head, start / PAGE, keys, &scratch, &to);
            for quad in 0..quads {
                let (hidden, visible) = unit.bounds(quad, rows, start);
                step::<K, V>(&scratch, &to, &block, quad, head_dim, hidden, visible);
            }
        }
        unit.unpack::<K::Float>(&scratch, rows);
    }
}

impl Integers {
    unsafe fn at(scratch: &Scratch, args: &Args) -> Self {
        let head_dim = args.layout.head_dim;
        let rows = tile_rows(args.group());
        let size = PAGE * head_dim;
        // SAFETY: q in floats is four times as large as q in bytes; a block in floats is twice as large as in i16, with as
        // much to spare.
        unsafe {
            let q = scratch.q.cast::<i8>();
            let q_scales = q.add(rows * head_dim).cast::<f32>();
            let weights = q_scales.add(rows).cast::<i8>();
            let k = scratch.expanded.cast::<u8>();
            let v = k.add(2 * BLOCK * head_dim);
            let floats = v.add(2 * BLOCK * head_dim).cast::<f32>();
            let first = floats.add(2 * size).cast::<i32>();
            let page = first.add(BLOCK).cast::<i8>();
            let page = [page, page.add(size)];
            Self { q, q_scales, weights, k, v, first, page, floats: [floats, floats.add(size)] }
        }
    }
}

/// Quantises q into quads, and clears the state. Rows past the last repeat it; nobody reads their results.
unsafe fn pack<D: Dots>(unit: &Unit, scratch: &Scratch, to: &Integers, rows: usize) {
    let Args { q, q_stride, scale, .. } = *unit.args;
    let head_dim = unit.args.layout.head_dim;
    let real = unit.tokens * unit.args.group();
    for quad in (0..rows).step_by(4) {
        let mut x = [core::ptr::null(); 4];
        let mut inverse = [0f32; 4];
        for r in 0..4 {
            let (token, column) = unit.place((quad + r).min(real - 1));
            // SAFETY: q has these tokens and columns; scratch has room for `rows` rows.
            unsafe {
                x[r] = q.add(token * q_stride + column);
                let (row_scale, row_inverse) = kv::scale::<D::Float>(x[r], head_dim);
                inverse[r] = row_inverse;
                *to.q_scales.add(quad + r) = row_scale * (scale * core::f32::consts::LOG2_E);
            }
        }
        // SAFETY: as above.
        unsafe {
            for d in (0..head_dim).step_by(STEP) {
                let at = to.q.add(quad * head_dim + d * 4);
                interleave::<D>(at, x.map(|x| x.add(d)), inverse);
            }
            D::Float::store(scratch.max.add(quad), D::Float::splat(f32::NEG_INFINITY));
            D::Float::store(scratch.sum.add(quad), D::Float::splat(0.0));
        }
    }
    // SAFETY: as above.
    unsafe { scratch.out.write_bytes(0, rows * head_dim) };
}

/// 32 floats of each of 4 rows, times the row's factor, as int8: (8, 4 rows, 4).
///
/// # Safety
/// They are readable, and 128 bytes writable at `to`.
#[inline(always)]
unsafe fn interleave<D: Dots>(to: *mut i8, rows: [*const f32; 4], inverse: [f32; 4]) {
    let mut bytes = [[0i8; STEP]; 4];
    // SAFETY: as above.
    unsafe {
        for r in 0..4 {
            D::quantize(bytes[r].as_mut_ptr(), rows[r], inverse[r]);
        }
        for half in 0..2 {
            let runs: [_; 4] = core::array::from_fn(|r| D::load_sums(bytes[r].as_ptr().add(half * 16).cast()));
            for (i, column) in D::transpose(runs).into_iter().enumerate() {
                D::store_sums(to.add(half * 64 + i * 16).cast(), column);
            }
        }
    }
}

/// Takes quad `quad` one block further; row i sees the block's keys `hidden[i]..visible[i]`. Keys that a row does not
/// see have a weight of 0, which in integers adds exactly nothing.
#[inline(always)]
unsafe fn step<K: Dots, V: Dots<Float = K::Float>>(
    scratch: &Scratch,
    to: &Integers,
    block: &Block,
    quad: usize,
    head_dim: usize,
    hidden: [usize; 4],
    visible: [usize; 4],
) {
    let keys = visible[3];
    if hidden[0] >= keys {
        return;
    }
    // SAFETY: as `tiles::quad`.
    unsafe {
        let q = to.q.add(quad * 4 * head_dim);
        for key in (hidden[0] / PANEL * PANEL..keys).step_by(PANEL) {
            score::<K>(scratch, to, block, quad, key, q, head_dim);
        }
        // Scores have the scales of keys in them.
        let scaled = Block { k_scales: core::ptr::null(), ..*block };
        let carry = tiles::soften::<K::Float>(scratch, &scaled, quad, hidden, visible);
        let scales = narrow::<V>(scratch, to, keys);
        for d in (0..head_dim).step_by(PANEL) {
            let out = scratch.out.add((quad * head_dim + d) * 4);
            gather::<V>(out, to, d, keys, carry, scales);
        }
    }
}

/// Scores of 4 rows and 8 keys.
#[inline(never)]
unsafe fn score<D: Dots>(
    scratch: &Scratch,
    to: &Integers,
    block: &Block,
    quad: usize,
    key: usize,
    q: *const i8,
    head_dim: usize,
) {
    // SAFETY: within the quad and the block.
    unsafe {
        let first = [D::load_sums(to.first.add(key)), D::load_sums(to.first.add(key + 4))];
        let mut sums = [first; 4];
        let k = to.k.add(key / PANEL * (head_dim / STEP) * D::EXPANDED);
        D::dots::<4>(&mut sums, q, k, 0, head_dim / 4);
        let scales = [0, 4].map(|at| D::Float::load(block.k_scales.add(key + at)));
        let rows: [f32; 4] = core::array::from_fn(|r| *to.q_scales.add(quad * 4 + r));
        for r in 0..4 {
            for group in 0..2 {
                let scale = D::Float::mul(scales[group], D::Float::splat(rows[r]));
                let score = D::Float::mul(D::float(sums[r][group]), scale);
                D::Float::store(scratch.scores.add(r * BLOCK + key + group * 4), score);
            }
        }
    }
}

/// Weights of a quad as 0..=127, and the scale of each row.
#[inline(never)]
unsafe fn narrow<D: Dots>(scratch: &Scratch, to: &Integers, keys: usize) -> [f32; 4] {
    let padded = keys.next_multiple_of(STEP);
    let mut scales = [0f32; 4];
    let mut inverse = [0f32; 4];
    // SAFETY: within the quad's scores, which `soften` left for whole eights of keys.
    unsafe {
        for r in 0..4 {
            let weights = scratch.scores.add(r * BLOCK);
            for key in (keys.next_multiple_of(PANEL)..padded).step_by(4) {
                D::Float::store(weights.add(key), D::Float::splat(0.0));
            }
            let mut most = [D::Float::splat(0.0); 2];
            for key in (0..padded).step_by(8) {
                for (half, most) in most.iter_mut().enumerate() {
                    *most = D::Float::pmax(*most, D::Float::load(weights.add(key + 4 * half)));
                }
            }
            (scales[r], inverse[r]) = scale_of(D::Float::largest(D::Float::pmax(most[0], most[1])));
        }
        for key in (0..padded).step_by(STEP) {
            let rows = core::array::from_fn(|r| scratch.scores.add(r * BLOCK + key).cast_const());
            interleave::<D>(to.weights.add(key * 4), rows, inverse);
        }
    }
    scales
}

/// out (4 rows, 8 dimensions) = out * carry + weights (4, keys) x v (keys, 8 dimensions from d).
#[inline(never)]
unsafe fn gather<D: Dots>(out: *mut f32, to: &Integers, d: usize, keys: usize, carry: [f32; 4], scales: [f32; 4]) {
    // SAFETY: within the quad's outputs and the block.
    unsafe {
        let mut sums = [[D::zero(); 2]; 4];
        let v = to.v.add(d / PANEL * (BLOCK / STEP) * D::EXPANDED);
        D::dots::<4>(&mut sums, to.weights, v, 0, keys.div_ceil(STEP) * (STEP / 4));
        for r in 0..4 {
            let (carry, scale) = (D::Float::splat(carry[r]), D::Float::splat(scales[r]));
            for group in 0..2 {
                let at = out.add(r * PANEL + group * 4);
                let before: Lanes<D> = D::Float::mul(D::Float::load(at), carry);
                D::Float::store(at, D::Float::mul_add(D::float(sums[r][group]), scale, before));
            }
        }
    }
}
