//! Attention in integers over int8 pages: queries and weights in 7 bits, keys and values in the 8 of their pages.
//!
//!     score  = float(q7 . k8) * (scale of the row * scale of the key)
//!     weight = 2^(score - max), the sums as in floats
//!     w7     = round(weight * scale of the value * 127 / the largest of the row in the block)
//!     out    = out * carry + float(w7 . v8) * (largest / 127)
//!
//! Each query row, each key and each value has a scale, and so have one row's weights in a block of keys at absolute
//! positions. As with floats, a row's bits depend neither on the rows beside it nor on how a prompt is cut into passes.
//! Keys that a row does not see weigh 0, which in integers adds exactly nothing.
//!
//! Queries are stored with 64 added, as 1..=127, and sums begin at -64 times the sum of the key. With one operand of at
//! most 127 every lowering of the relaxed dot is exact, so that all engines compute the same sums.
mod block;

use super::block::Block;
use super::{Args, BLOCK, Scratch, Unit, tile_rows, tiles};
use crate::ops::kv::{self, KvType, Layout, PAGE, scale_of};
use crate::simd::dots::{BLOCK as STEP, Dots, PANEL};
use crate::simd::floats::Floats;

/// Takes int8 as the first operand of the relaxed dot, and what is at most 127 as the second.
#[cfg(target_arch = "wasm32")]
use crate::simd::dots::Signed as Int;
#[cfg(not(target_arch = "wasm32"))]
use crate::simd::floats::Scalar as Int;

type Lanes = <Int as Dots>::Float;

/// What is added to queries.
const OFFSET: i8 = 64;

/// Returns whether integers can compute attention over such pages: they are int8, and heads are whole steps of 32.
pub fn fit(layout: &Layout) -> bool {
    layout.kind == KvType::I8 && layout.head_dim.is_multiple_of(STEP)
}

/// Where a unit keeps its integers, all within the scratch that floats would take.
struct Integers {
    /// Shape (rows / 4; head_dim / 4, 4 rows, 4), with `OFFSET` added.
    q: *mut i8,
    /// Scale of each row, times the scale of scores and log2(e).
    q_scales: *mut f32,
    /// Shape (BLOCK / 4, 4 rows, 4 keys): a quad's weights.
    weights: *mut i8,
    /// Shape (BLOCK / 8; head_dim / 32) blocks as `Dots` wants them: outputs are keys.
    k: *mut u8,
    /// Shape (head_dim / 8; BLOCK / 32) blocks: outputs are dimensions, k are keys.
    v: *mut u8,
    /// What the sum of each key begins with.
    first: *mut i32,
}

/// Computes units `lo..hi`.
///
/// # Safety
/// As `super::body`, for a layout that fits.
pub unsafe fn body(args: &Args, lo: usize, hi: usize, scratch: *mut u8) {
    super::units(args, lo, hi, |unit| {
        // SAFETY: as for this function.
        unsafe { run(unit, scratch.cast()) }
    });
}

unsafe fn run(unit: &Unit, scratch: *mut f32) {
    let head_dim = unit.args.layout.head_dim;
    let rows = unit.tokens * unit.args.group();
    let quads = rows.div_ceil(4);
    // SAFETY: the layout is the one that `scratch_bytes` counts.
    unsafe {
        let scratch = Scratch::at(scratch, unit.args);
        let to = Integers::at(&scratch, unit.args);
        pack(unit, &scratch, &to, quads * 4);
        let last = unit.last(rows - 1);
        // Blocks before the first row's window are before all windows.
        let first = unit.hidden(0) / BLOCK * BLOCK;
        for start in (first..=last).step_by(BLOCK) {
            let keys = BLOCK.min(last + 1 - start);
            let block = block::load(unit.args, &unit.segment, unit.head, start / PAGE, keys, &scratch, &to);
            for quad in 0..quads {
                let (hidden, visible) = unit.bounds(quad, rows, start);
                step(&scratch, &to, &block, quad, head_dim, hidden, visible);
            }
        }
        unit.unpack::<Lanes>(&scratch, rows);
    }
}

impl Integers {
    unsafe fn at(scratch: &Scratch, args: &Args) -> Self {
        let head_dim = args.layout.head_dim;
        let rows = tile_rows(args.group());
        // SAFETY: q in floats is four times as large as q in bytes, and a block in floats as one in bytes.
        unsafe {
            let q = scratch.q.cast::<i8>();
            let q_scales = q.add(rows * head_dim).cast::<f32>();
            let weights = q_scales.add(rows).cast::<i8>();
            let k = scratch.expanded.cast::<u8>();
            let v = k.add(BLOCK * head_dim);
            let first = v.add(BLOCK * head_dim).cast::<i32>();
            Self { q, q_scales, weights, k, v, first }
        }
    }
}

/// Quantises q into quads, and clears the state. Rows past the last repeat it; their results are unused.
#[inline(never)]
unsafe fn pack(unit: &Unit, scratch: &Scratch, to: &Integers, rows: usize) {
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
                let (row_scale, row_inverse) = scale_of(kv::largest::<Lanes>(x[r], head_dim), 63.0);
                inverse[r] = row_inverse;
                *to.q_scales.add(quad + r) = row_scale * (scale * core::f32::consts::LOG2_E);
            }
        }
        // SAFETY: as above.
        unsafe {
            for d in (0..head_dim).step_by(STEP) {
                let at = to.q.add(quad * head_dim + d * 4);
                interleave(at, x.map(|x| x.add(d)), inverse);
            }
            Lanes::store(scratch.max.add(quad), Lanes::splat(f32::NEG_INFINITY));
            Lanes::store(scratch.sum.add(quad), Lanes::splat(0.0));
        }
    }
    // SAFETY: as above.
    unsafe {
        let q = core::slice::from_raw_parts_mut(to.q, rows * head_dim);
        q.iter_mut().for_each(|q| *q = q.wrapping_add(OFFSET));
        scratch.out.write_bytes(0, rows * head_dim);
    }
}

/// Quantises 32 floats of each of 4 rows by the row's factor to int8, shape (8, 4 rows, 4).
///
/// # Safety
/// They must be readable, and 128 bytes writable at `to`.
#[inline(never)]
unsafe fn interleave(to: *mut i8, rows: [*const f32; 4], inverse: [f32; 4]) {
    let mut bytes = [[0i8; STEP]; 4];
    // SAFETY: as above.
    unsafe {
        for r in 0..4 {
            Int::quantize(bytes[r].as_mut_ptr(), rows[r], inverse[r]);
        }
        for half in 0..2 {
            let runs = core::array::from_fn(|r| Int::load_sums(bytes[r].as_ptr().add(half * 16).cast()));
            for (i, column) in Int::transpose(runs).into_iter().enumerate() {
                Int::store_sums(to.add(half * 64 + i * 16).cast(), column);
            }
        }
    }
}

/// Takes quad `quad` one block further; row i sees the block's keys `hidden[i]..visible[i]`.
#[inline(always)]
unsafe fn step(
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
        for key in (hidden[0] / PANEL * PANEL..keys).step_by(PANEL) {
            score(scratch, to, block, quad, key, head_dim);
        }
        weigh(scratch, to, block, quad, head_dim, hidden, visible);
    }
}

/// Computes the scores of 4 rows and 8 keys.
#[inline(always)]
unsafe fn score(scratch: &Scratch, to: &Integers, block: &Block, quad: usize, key: usize, head_dim: usize) {
    // SAFETY: within the quad and the block.
    unsafe {
        let first = [Int::load_sums(to.first.add(key)), Int::load_sums(to.first.add(key + 4))];
        let mut sums = [first; 4];
        let q = to.q.add(quad * 4 * head_dim);
        let k = to.k.add(key / PANEL * (head_dim / STEP) * Int::EXPANDED);
        Int::dots::<4>(&mut sums, q, k, 0, head_dim / 4);
        let scales = [0, 4].map(|at| Lanes::load(block.k_scales.add(key + at)));
        for (r, sums) in sums.into_iter().enumerate() {
            let row = Lanes::splat(*to.q_scales.add(quad * 4 + r));
            for group in 0..2 {
                let score = Lanes::mul(Int::float(sums[group]), Lanes::mul(scales[group], row));
                Lanes::store(scratch.scores.add(r * BLOCK + key + group * 4), score);
            }
        }
    }
}

/// Turns a quad's scores into weights, and adds the values that they weigh.
///
/// # Safety
/// As `tiles::quad`.
#[inline(never)]
unsafe fn weigh(
    scratch: &Scratch,
    to: &Integers,
    block: &Block,
    quad: usize,
    head_dim: usize,
    hidden: [usize; 4],
    visible: [usize; 4],
) {
    // SAFETY: as for this function.
    unsafe {
        // Scores have the scales of keys in them.
        let scaled = Block { k_scales: core::ptr::null(), ..*block };
        let carry = tiles::soften::<Lanes>(scratch, &scaled, quad, hidden, visible);
        let scales = narrow(scratch, to, visible[3]);
        for d in (0..head_dim).step_by(PANEL) {
            let out = scratch.out.add((quad * head_dim + d) * 4);
            gather(out, to, d, visible[3], carry, scales);
        }
    }
}

/// Quantises a quad's weights to 0..=127, and returns the scale of each row.
#[inline(always)]
unsafe fn narrow(scratch: &Scratch, to: &Integers, keys: usize) -> [f32; 4] {
    let padded = keys.next_multiple_of(STEP);
    let mut scales = [0f32; 4];
    let mut inverse = [0f32; 4];
    // SAFETY: within the quad's scores, which `soften` left for whole eights of keys.
    unsafe {
        for r in 0..4 {
            let weights = scratch.scores.add(r * BLOCK);
            for key in (keys.next_multiple_of(PANEL)..padded).step_by(4) {
                Lanes::store(weights.add(key), Lanes::splat(0.0));
            }
            let mut most = [Lanes::splat(0.0); 2];
            for key in (0..padded).step_by(8) {
                for (half, most) in most.iter_mut().enumerate() {
                    *most = Lanes::pmax(*most, Lanes::load(weights.add(key + 4 * half)));
                }
            }
            (scales[r], inverse[r]) = scale_of(Lanes::largest(Lanes::pmax(most[0], most[1])), 127.0);
        }
        for key in (0..padded).step_by(STEP) {
            let rows = core::array::from_fn(|r| scratch.scores.add(r * BLOCK + key).cast_const());
            interleave(to.weights.add(key * 4), rows, inverse);
        }
    }
    scales
}

/// out (4 rows, 8 dimensions) = out * carry + weights (4, keys) x v (keys, 8 dimensions from d).
#[inline(always)]
unsafe fn gather(out: *mut f32, to: &Integers, d: usize, keys: usize, carry: [f32; 4], scales: [f32; 4]) {
    // SAFETY: within the quad's outputs and the block.
    unsafe {
        let mut sums = [[Int::zero(); 2]; 4];
        let v = to.v.add(d / PANEL * (BLOCK / STEP) * Int::EXPANDED);
        Int::dots::<4>(&mut sums, to.weights, v, 0, keys.div_ceil(STEP) * (STEP / 4));
        for (r, sums) in sums.into_iter().enumerate() {
            let (carry, scale) = (Lanes::splat(carry[r]), Lanes::splat(scales[r]));
            for group in 0..2 {
                let at = out.add(r * PANEL + group * 4);
                let before = Lanes::mul(Lanes::load(at), carry);
                Lanes::store(at, Lanes::mul_add(Int::float(sums[group]), scale, before));
            }
        }
    }
}
