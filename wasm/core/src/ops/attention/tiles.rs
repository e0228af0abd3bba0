//! Four query rows against one block of keys.
use super::block::Block;
use super::{BLOCK, Scratch};
use crate::ops::exp::Powers;
use crate::ops::kv::PAGE;
use crate::ops::rows::cap_run;
use crate::simd::floats::Floats;

/// Takes quad `quad` one block further; row i sees the block's keys `hidden[i]..visible[i]`.
///
/// # Safety
/// Scratch and block are as described there; rows of a quad are in order: both bounds grow from row to row.
#[inline(always)]
pub unsafe fn quad<I: Floats>(
    scratch: &Scratch,
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
    // SAFETY: as for this function.
    unsafe {
        let q = scratch.q.add(quad * 4 * head_dim);
        for key in (hidden[0] / 8 * 8..keys).step_by(8) {
            let k = block.k[key / PAGE].add(key % PAGE);
            score::<I>(scratch.scores.add(key), q, k, head_dim);
        }
        let carry = soften::<I>(scratch, block, quad, hidden, visible);
        if hidden[3] > 0 {
            return windowed::<I>(scratch, block, quad, head_dim, hidden, visible, carry);
        }
        for d in (0..head_dim).step_by(8) {
            let out = scratch.out.add((quad * head_dim + d) * 4);
            gather::<I>(out, scratch.scores, block, d, head_dim, 0..visible[0], carry);
            for key in visible[0]..keys {
                let v = block.v[key / PAGE].add(key % PAGE * head_dim + d);
                gather_one::<I>(out, scratch.scores.add(key), v, visible.map(|visible| key < visible));
            }
        }
    }
}

/// The output of a quad whose windows begin within the block, or of which some rows see nothing of it. Each row takes its
/// keys in their order, as alone: those before the last row's window one by one, then those that all see, then the rest.
/// Not inlined: it is for the edges of windows, and would only cost registers in `quad`.
///
/// # Safety
/// As for `quad`.
#[inline(never)]
unsafe fn windowed<I: Floats>(
    scratch: &Scratch,
    block: &Block,
    quad: usize,
    head_dim: usize,
    hidden: [usize; 4],
    visible: [usize; 4],
    carry: [f32; 4],
) {
    let keys = visible[3];
    let common = hidden[3].min(keys);
    // SAFETY: as for this function.
    unsafe {
        for d in (0..head_dim).step_by(8) {
            let out = scratch.out.add((quad * head_dim + d) * 4);
            let one = |key: usize| {
                let v = block.v[key / PAGE].add(key % PAGE * head_dim + d);
                let sees = core::array::from_fn(|i| hidden[i] <= key && key < visible[i]);
                gather_one::<I>(out, scratch.scores.add(key), v, sees);
            };
            gather::<I>(out, scratch.scores, block, d, head_dim, 0..0, carry);
            (hidden[0]..common).for_each(one);
            gather::<I>(out, scratch.scores, block, d, head_dim, common..visible[0].max(common), [1.0; 4]);
            (visible[0].max(common)..keys).for_each(one);
        }
    }
}

/// scores (4 rows, 8 keys; BLOCK apart) = q (head_dim, 4) x k (head_dim, 8 keys; 16 apart).
#[inline(always)]
unsafe fn score<I: Floats>(scores: *mut f32, q: *const f32, k: *const f32, head_dim: usize) {
    let mut sums = [[I::splat(0.0); 2]; 4];
    for d in 0..head_dim {
        // SAFETY: within the page and the quad.
        unsafe {
            let left = I::load(k.add(d * PAGE));
            let right = I::load(k.add(d * PAGE + 4));
            for (row, sums) in sums.iter_mut().enumerate() {
                let q = I::splat(*q.add(d * 4 + row));
                sums[0] = I::mul_add(q, left, sums[0]);
                sums[1] = I::mul_add(q, right, sums[1]);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: within the quad's scores.
        unsafe {
            I::store(scores.add(row * BLOCK), sums[0]);
            I::store(scores.add(row * BLOCK + 4), sums[1]);
        }
    }
}

/// Scores become 2^(score - max), masked ones 0, times the values' scales. Returns what earlier sums and outputs must
/// be multiplied with, per row. A row that sees nothing of the block keeps its state bit for bit: its factor is 2^0 = 1.
///
/// # Safety
/// As `quad`.
#[inline(always)]
pub unsafe fn soften<I: Floats>(
    scratch: &Scratch,
    block: &Block,
    quad: usize,
    hidden: [usize; 4],
    visible: [usize; 4],
) -> [f32; 4] {
    let padded = visible[3].next_multiple_of(8);
    let mut carry = [0f32; 4];
    let powers = Powers::<I>::load();
    // SAFETY: within the quad's scores and state.
    unsafe {
        let state = scratch.max.add(quad * 4);
        let old = I::load(state);
        for (row, &visible) in visible.iter().enumerate() {
            let scores = scratch.scores.add(row * BLOCK);
            if !block.k_scales.is_null() {
                for key in (0..padded).step_by(4) {
                    I::store(scores.add(key), I::mul(I::load(scores.add(key)), I::load(block.k_scales.add(key))));
                }
            }
            if scratch.cap > 0.0 {
                cap_run::<I>(scores, padded, scratch.cap);
            }
            for key in (0..hidden[row].min(padded)).chain(visible..padded) {
                *scores.add(key) = f32::NEG_INFINITY;
            }
            let mut largest = I::load(scores);
            for key in (4..padded).step_by(4) {
                largest = I::pmax(largest, I::load(scores.add(key)));
            }
            let largest = I::largest(largest);
            if largest > *state.add(row) {
                *state.add(row) = largest;
            }
        }
        // A row that has seen no key yet, since all were before its window, has nothing to carry: its state stays lowest.
        let highest: [f32; 4] = core::array::from_fn(|row| finite(*state.add(row)));
        I::store(carry.as_mut_ptr(), powers.of_two(I::sub(old, I::load(highest.as_ptr()))));
        for (row, carry) in carry.iter().enumerate() {
            let scores = scratch.scores.add(row * BLOCK);
            let max = I::splat(highest[row]);
            let mut sum = [I::splat(0.0); 2];
            for key in (0..padded).step_by(8) {
                for (half, sum) in sum.iter_mut().enumerate() {
                    let at = scores.add(key + 4 * half);
                    let weight = powers.of_two(I::sub(I::load(at), max));
                    *sum = I::add(*sum, weight);
                    I::store(at, weight);
                }
            }
            if !block.v_scales.is_null() {
                for key in (0..padded).step_by(4) {
                    I::store(scores.add(key), I::mul(I::load(scores.add(key)), I::load(block.v_scales.add(key))));
                }
            }
            let total = scratch.sum.add(quad * 4 + row);
            *total = *total * carry + I::total(I::add(sum[0], sum[1]));
        }
    }
    carry
}

/// 0 for a maximum of nothing.
#[inline(always)]
fn finite(max: f32) -> f32 {
    if max == f32::NEG_INFINITY { 0.0 } else { max }
}

/// out (4 rows, 8 dimensions) = out * carry + weights (4, keys; BLOCK apart) x v (keys, 8 dimensions from d).
#[inline(always)]
unsafe fn gather<I: Floats>(
    out: *mut f32,
    weights: *const f32,
    block: &Block,
    d: usize,
    head_dim: usize,
    keys: core::ops::Range<usize>,
    carry: [f32; 4],
) {
    // SAFETY: within the quad's outputs and weights, and the block's pages.
    unsafe {
        let mut sums = [[I::splat(0.0); 2]; 4];
        for (row, sums) in sums.iter_mut().enumerate() {
            let carry = I::splat(carry[row]);
            sums[0] = I::mul(I::load(out.add(row * 8)), carry);
            sums[1] = I::mul(I::load(out.add(row * 8 + 4)), carry);
        }
        for first in (keys.start / PAGE * PAGE..keys.end).step_by(PAGE) {
            let v = block.v[first / PAGE].add(d);
            for key in keys.start.saturating_sub(first)..PAGE.min(keys.end - first) {
                let left = I::load(v.add(key * head_dim));
                let right = I::load(v.add(key * head_dim + 4));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let weight = I::splat(*weights.add(row * BLOCK + first + key));
                    sums[0] = I::mul_add(weight, left, sums[0]);
                    sums[1] = I::mul_add(weight, right, sums[1]);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            I::store(out.add(row * 8), sums[0]);
            I::store(out.add(row * 8 + 4), sums[1]);
        }
    }
}

/// The same for one key and only the rows that see it: 0 times what they don't see need not be 0.
#[inline(always)]
unsafe fn gather_one<I: Floats>(out: *mut f32, weights: *const f32, v: *const f32, sees: [bool; 4]) {
    for (row, sees) in sees.into_iter().enumerate() {
        if sees {
            // SAFETY: as above.
            unsafe {
                let weight = I::splat(*weights.add(row * BLOCK));
                for half in [0, 4] {
                    let out = out.add(row * 8 + half);
                    I::store(out, I::mul_add(weight, I::load(v.add(half)), I::load(out)));
                }
            }
        }
    }
}
