//! What a prediction of K and V misses, quantised and entropy-coded; `src/transfer/residual.ts` tells the format.
//!
//! A tile is some layers of some tokens, coded as one string: layer by layer, unit by unit, token by token, dimension by
//! dimension. A value's code is its distance from the prediction in steps, each coded with the models of a context: what is known
//! of how large its neighbours are, the same dimension at earlier tokens and earlier dimensions of the same token.

use super::range::{Bit, Decoder, Encoder};
use super::tile::{load_tile, store_tile};
use super::{Args, Codec, GROUP, Group, Part};
use crate::ops::kv::{Layout, PAGE};
use crate::simd::floats::Floats;

pub struct ResidualArgs {
    pub layout: Layout,
    /// The first layer's part of page 0; the next layer's follows it.
    pub layer_base: *mut u8,
    pub page_bytes: usize,
    pub layers: usize,
    /// Pages of the exact values, and of what was predicted.
    pub pages: *const u32,
    pub base: *const u32,
    pub tokens: usize,
    /// Steps of each layer's heads: K (head_dim), then V (1). 0 for what is not sent.
    pub steps: *const f32,
}

/// From this fraction of a step on a value is coded as one step; below half, because zeros are cheap.
const ROUND: f32 = 0.36;
/// Values are reconstructed nearer to 0 than the middle of their step, as small ones are more frequent.
const TOWARDS_ZERO: f32 = 0.06;
/// The largest code.
const MOST: u32 = 32_767;
/// Contexts, by how large a value is expected to be.
const LEVELS: usize = 16;
/// Sums of sizes where the contexts begin, in sixteenths.
const BEGIN: [u16; LEVELS - 1] = [2, 4, 6, 9, 12, 16, 21, 27, 35, 45, 60, 80, 110, 160, 260];
/// The context of each sum, those from 260 on being one.
const LEVEL: [u8; 261] = levels();

const fn levels() -> [u8; 261] {
    let mut all = [0; 261];
    let (mut sum, mut level) = (0, 0);
    while sum < all.len() {
        while level < LEVELS - 1 && sum >= BEGIN[level] as usize {
            level += 1;
        }
        all[sum] = level as u8;
        sum += 1;
    }
    all
}

/// The largest number of ones that says how large a code is, before its rest is written in bits.
const ONES: usize = 14;

/// The models of one tile, which begin at their averages.
struct Models {
    zero: [[Bit; LEVELS]; 2],
    one: [[Bit; LEVELS]; 2],
    more: [[Bit; LEVELS]; 2],
    rest: [Bit; ONES],
}

impl Models {
    fn new() -> Self {
        let mut zero = [Bit::new(0); LEVELS];
        let mut one = [Bit::new(0); LEVELS];
        let mut more = [Bit::new(0); LEVELS];
        for level in 0..LEVELS {
            let of = |from: i32, by: i32, least: i32| Bit::new((from - by * level as i32).max(least) as u16);
            zero[level] = of(31_500, 1_900, 4_000);
            one[level] = of(30_500, 1_300, 10_000);
            more[level] = of(28_000, 1_100, 10_000);
        }
        Self { zero: [zero; 2], one: [one; 2], more: [more; 2], rest: [Bit::new(18_000); ONES] }
    }
}

/// Known sizes around a value, in sixteenths of a step.
struct Neighbours {
    /// Sizes of each dimension, over earlier tokens.
    columns: [u16; 256],
    row: u16,
}

impl Neighbours {
    fn new() -> Self {
        Self { columns: [10; 256], row: 10 }
    }

    #[inline(always)]
    fn level(&self, d: usize) -> usize {
        LEVEL[((self.columns[d] + self.row) as usize).min(LEVEL.len() - 1)] as usize
    }

    #[inline(always)]
    fn learn(&mut self, d: usize, size: u32) {
        let size = (size.min(63) * 16) as i32;
        let column = self.columns[d] as i32;
        self.columns[d] = (column + ((size - column + 4) >> 3)) as u16;
        let row = self.row as i32;
        self.row = (row + ((size - row + 8) >> 4)) as u16;
    }
}

/// Bytes of scratch: two tiles.
pub fn scratch_bytes(head_dim: usize) -> u64 {
    2 * super::scratch_bytes(head_dim)
}

/// The bytes that the tile takes; written as far as `room` goes.
///
/// # Safety
/// Pages and steps are as `ResidualArgs` has them, `room` bytes are writable, and scratch has `scratch_bytes`.
pub unsafe fn encode<I: Floats>(args: &ResidualArgs, to: *mut u8, room: usize, scratch: *mut u8) -> usize {
    let mut coder = Encoder::new(to, room);
    // SAFETY: as for this function.
    unsafe {
        walk(args, |models, seen, unit, group, steps| {
            let part = Part::of(unit.unit);
            let (exact, base) = tiles(args, scratch);
            load_tile::<I>(&unit.args(args, args.pages), unit.unit, group, exact);
            load_tile::<I>(&unit.args(args, args.base), unit.unit, group, base);
            each(args, part, group, |d, at| {
                let step = *steps.add(if part == Part::K { d } else { 0 });
                if step > 0.0 {
                    let value = (*exact.add(at) - *base.add(at)) / step;
                    // NaN becomes 0.
                    let size = ((value.abs() + ROUND) as u32).min(MOST);
                    put(&mut coder, models, part, seen.level(d), size, value < 0.0);
                    seen.learn(d, size);
                }
            });
            true
        });
        coder.end();
    }
    coder.bytes
}

/// Adds what the bytes say to the pages; false for bytes that are no such tile, whose values are then of no use.
///
/// # Safety
/// Pages and steps are as `ResidualArgs` has them, `length` bytes are readable, and scratch has `scratch_bytes`.
pub unsafe fn decode<I: Floats>(args: &ResidualArgs, from: *const u8, length: usize, scratch: *mut u8) -> bool {
    // SAFETY: as for this function.
    unsafe {
        let mut coder = Decoder::new(from, length);
        let mut sound = true;
        walk(args, |models, seen, unit, group, steps| {
            let part = Part::of(unit.unit);
            let (tile, _) = tiles(args, scratch);
            let place = unit.args(args, args.pages);
            load_tile::<I>(&place, unit.unit, group, tile);
            let mut changed = false;
            each(args, part, group, |d, at| {
                let step = *steps.add(if part == Part::K { d } else { 0 });
                if step > 0.0 && sound {
                    let (size, negative) = take(&mut coder, models, part, seen.level(d));
                    sound &= size <= MOST;
                    seen.learn(d, size);
                    if size > 0 {
                        changed = true;
                        let value = (size as f32 - TOWARDS_ZERO) * step;
                        *tile.add(at) += if negative { -value } else { value };
                    }
                }
            });
            // A string that has ended must not take the time of a whole tile.
            sound &= coder.read <= length;
            if changed && sound {
                store_tile::<I>(&place, unit.unit, group, tile);
            }
            sound
        });
        sound && coder.at_end()
    }
}

/// A unit of one of the layers.
struct Unit {
    layer: usize,
    unit: usize,
}

impl Unit {
    fn args(&self, args: &ResidualArgs, pages: *const u32) -> Args {
        let &ResidualArgs { layout, layer_base, page_bytes, tokens, .. } = args;
        let layer_base = layer_base.wrapping_add(self.layer * layout.bytes() as usize);
        // The codec and the wire are unused.
        let wire = core::ptr::null_mut();
        Args { codec: Codec::F32, layout, layer_base, page_bytes, pages, tokens, wire, first: 0 }
    }
}

/// Calls `group` for all groups of the tile in order, until one returns false.
unsafe fn walk(
    args: &ResidualArgs,
    mut group: impl FnMut(&mut Models, &mut Neighbours, &Unit, Group, *const f32) -> bool,
) {
    let Layout { kv_heads, head_dim, .. } = args.layout;
    let mut models = Models::new();
    for layer in 0..args.layers {
        for unit in 0..2 * kv_heads {
            let head = layer * kv_heads + unit / 2;
            // SAFETY: steps of all heads are there: head_dim of K, and one of V.
            let steps = unsafe { args.steps.add(head * (head_dim + 1) + if unit % 2 == 0 { 0 } else { head_dim }) };
            let mut seen = Neighbours::new();
            for token in (0..args.tokens).step_by(GROUP) {
                let n = GROUP.min(args.tokens - token);
                let place = Unit { layer, unit };
                if !group(&mut models, &mut seen, &place, Group { page: token / PAGE, n }, steps) {
                    return;
                }
            }
        }
    }
}

/// Calls `value` for each value of a group in order: its dimension, and where it is in the tile.
#[inline(always)]
fn each(args: &ResidualArgs, part: Part, group: Group, mut value: impl FnMut(usize, usize)) {
    let dim = args.layout.head_dim;
    for token in 0..group.n {
        for d in 0..dim {
            value(d, if part == Part::K { d * GROUP + token } else { token * dim + d });
        }
    }
}

unsafe fn tiles(args: &ResidualArgs, scratch: *mut u8) -> (*mut f32, *mut f32) {
    // SAFETY: scratch has two tiles.
    unsafe { (scratch.cast(), scratch.add(super::scratch_bytes(args.layout.head_dim) as usize).cast()) }
}

/// Zero or not; the sign; more than 1, more than 2, and so on, each a bit of its own; Elias' gamma code of what is left after those.
#[inline(always)]
unsafe fn put(coder: &mut Encoder, models: &mut Models, part: Part, level: usize, size: u32, negative: bool) {
    let kind = part as usize;
    // SAFETY: the encoder's room.
    unsafe {
        coder.bit(&mut models.zero[kind][level], size > 0);
        if size == 0 {
            return;
        }
        coder.even(negative);
        coder.bit(&mut models.one[kind][level], size > 1);
        if size == 1 {
            return;
        }
        coder.bit(&mut models.more[kind][level], size > 2);
        if size > 2 {
            put_large(coder, models, size - 3);
        }
    }
}

#[inline(never)]
unsafe fn put_large(coder: &mut Encoder, models: &mut Models, size: u32) {
    // SAFETY: as for `put`.
    unsafe {
        for (more, model) in models.rest.iter_mut().enumerate() {
            coder.bit(model, size > more as u32);
            if size <= more as u32 {
                return;
            }
        }
        let value = size - ONES as u32 + 1;
        let bits = value.ilog2();
        for _ in 0..bits {
            coder.even(true);
        }
        coder.even(false);
        for bit in (0..bits).rev() {
            coder.even(value >> bit & 1 == 1);
        }
    }
}

/// A size and whether it is negative; more than `MOST` if the bytes are invalid.
#[inline(always)]
fn take(coder: &mut Decoder, models: &mut Models, part: Part, level: usize) -> (u32, bool) {
    let kind = part as usize;
    if !coder.bit(&mut models.zero[kind][level]) {
        return (0, false);
    }
    let negative = coder.even();
    if !coder.bit(&mut models.one[kind][level]) {
        return (1, negative);
    }
    if !coder.bit(&mut models.more[kind][level]) {
        return (2, negative);
    }
    (3 + take_large(coder, models), negative)
}

#[inline(never)]
fn take_large(coder: &mut Decoder, models: &mut Models) -> u32 {
    for (more, model) in models.rest.iter_mut().enumerate() {
        if !coder.bit(model) {
            return more as u32;
        }
    }
    let mut bits = 0;
    while coder.even() {
        bits += 1;
        if bits > 15 {
            return MOST;
        }
    }
    let mut value = 1;
    for _ in 0..bits {
        value = value << 1 | coder.even() as u32;
    }
    value + ONES as u32 - 1
}
