//! Converts K and V of a layer's tokens to bytes of the wire and back; `src/transfer/wire.ts` gives
//! the formats. Unit 2h is the K of head h, unit 2h + 1 its V. Its tokens form groups of 32. A
//! group is copied out of its pages, or back, as a tile of floats: K (head_dim, 32), V (32,
//! head_dim).

mod codes;
pub mod range;
pub mod residual;
mod tile;

use super::kv::{KvType, Layout, PAGE};
use crate::simd::floats::Floats;
use codes::{decode_row, encode_row, load_bytes, load_halves, store_bytes, store_halves, token_scales};
use tile::{load_tile, store_tile, verbatim};

/// Number of tokens of a group.
pub const GROUP: usize = 32;
/// Number of values of an int4 row.
const ROW: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Codec {
    F32,
    F16,
    I8,
    I4,
}

impl Codec {
    /// Codec: 0 f32, 1 f16, 2 int8, 3 int4.
    pub fn new(codec: u32) -> Option<Self> {
        [Self::F32, Self::F16, Self::I8, Self::I4].get(codec as usize).copied()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    K,
    V,
}

impl Part {
    pub fn of(unit: usize) -> Self {
        if unit.is_multiple_of(2) { Self::K } else { Self::V }
    }
}

pub struct Args {
    pub codec: Codec,
    pub layout: Layout,
    pub layer_base: *mut u8,
    pub page_bytes: usize,
    /// Pages of the tokens, which start at the beginning of the first.
    pub pages: *const u32,
    pub tokens: usize,
    /// Bytes of the units from `first` on.
    pub wire: *mut u8,
    pub first: usize,
}

/// Returns the bytes of a unit on the wire.
pub fn unit_bytes(codec: Codec, part: Part, head_dim: usize, tokens: usize) -> u64 {
    let group = |n: usize| group_bytes(codec, part, head_dim as u64, n as u64);
    let rest = tokens % GROUP;
    ((tokens / GROUP) as u64).saturating_mul(group(GROUP)).saturating_add(if rest > 0 { group(rest) } else { 0 })
}

/// `n` is at most `GROUP`, so no product exceeds 64 bits.
fn group_bytes(codec: Codec, part: Part, head_dim: u64, n: u64) -> u64 {
    const ROW: u64 = self::ROW as u64;
    match codec {
        Codec::F32 => 4 * head_dim * n,
        Codec::F16 => 2 * head_dim * n,
        Codec::I8 => (4 + head_dim) * n,
        Codec::I4 => match part {
            Part::K => head_dim * row_bytes(n),
            Part::V => n * (head_dim / ROW * row_bytes(ROW) + tail_bytes(head_dim % ROW)),
        },
    }
}

const fn row_bytes(values: u64) -> u64 {
    4 + values.div_ceil(2)
}

const fn tail_bytes(values: u64) -> u64 {
    if values == 0 { 0 } else { row_bytes(values) }
}

/// Returns the bytes of scratch: a tile, and scales of its tokens.
pub fn scratch_bytes(head_dim: usize) -> u64 {
    (head_dim as u64 + 2) * (GROUP * 4) as u64
}

/// # Safety
/// Pages of all tokens must be readable, the wire's bytes of the units writable, and scratch must have `scratch_bytes`.
pub unsafe fn encode<I: Floats>(args: &Args, lo: usize, hi: usize, scratch: *mut u8) {
    // SAFETY: as for this function.
    unsafe { units(args, lo, hi, |unit, group, wire| encode_group::<I>(args, unit, group, wire, scratch.cast())) }
}

/// # Safety
/// The wire's bytes of the units must be readable, pages of all tokens writable, and scratch must have `scratch_bytes`.
pub unsafe fn decode<I: Floats>(args: &Args, lo: usize, hi: usize, scratch: *mut u8) {
    // SAFETY: as for this function.
    unsafe { units(args, lo, hi, |unit, group, wire| decode_group::<I>(args, unit, group, wire, scratch.cast())) }
}

/// A group of `n` tokens, from the first of page `page` of the table on.
#[derive(Clone, Copy)]
pub struct Group {
    pub page: usize,
    pub n: usize,
}

unsafe fn units(args: &Args, lo: usize, hi: usize, mut each: impl FnMut(usize, Group, *mut u8)) {
    let Args { codec, tokens, first, .. } = *args;
    let head_dim = args.layout.head_dim;
    let bytes = |unit: usize| unit_bytes(codec, Part::of(unit), head_dim, tokens) as usize;
    // Units are contiguous, K and V alternating.
    let mut at: usize = (0..lo).map(|i| bytes(first + i)).sum();
    for unit in first + lo..first + hi {
        for token in (0..tokens).step_by(GROUP) {
            let n = GROUP.min(tokens - token);
            // SAFETY: the wire holds all groups of the unit.
            each(unit, Group { page: token / PAGE, n }, unsafe { args.wire.add(at) });
            at += group_bytes(codec, Part::of(unit), head_dim as u64, n as u64) as usize;
        }
    }
}

unsafe fn encode_group<I: Floats>(args: &Args, unit: usize, group: Group, wire: *mut u8, tile: *mut f32) {
    let dim = args.layout.head_dim;
    let n = group.n;
    // SAFETY: the tile is scratch, the wire has the group's bytes.
    unsafe {
        if args.codec == Codec::I8 && args.layout.kind == KvType::I8 {
            return verbatim(args, unit, group, |page, at, offset, bytes| {
                wire.add(offset).copy_from_nonoverlapping(page.add(at), bytes)
            });
        }
        load_tile::<I>(args, unit, group, tile);
        let (rows, cols, stride) = shape(Part::of(unit), dim, n);
        match args.codec {
            Codec::F32 => {
                for row in 0..rows {
                    let to = wire.add(row * cols * 4);
                    to.copy_from_nonoverlapping(tile.add(row * stride).cast(), cols * 4);
                }
            }
            Codec::F16 => {
                for row in 0..rows {
                    store_halves::<I>(wire.add(row * cols * 2), tile.add(row * stride), cols);
                }
            }
            Codec::I8 => {
                let scales = tile.add(dim * GROUP);
                let inverses = scales.add(GROUP);
                token_scales::<I>(Part::of(unit), dim, n, tile, scales, inverses);
                wire.copy_from_nonoverlapping(scales.cast(), 4 * n);
                let values = wire.add(4 * n);
                store_bytes::<I>(Part::of(unit), dim, n, tile, inverses, values);
            }
            Codec::I4 => {
                let mut to = wire;
                for row in 0..rows {
                    for col in (0..cols).step_by(ROW) {
                        let w = ROW.min(cols - col);
                        encode_row::<I>(to, tile.add(row * stride + col), w);
                        to = to.add(row_bytes(w as u64) as usize);
                    }
                }
            }
        }
    }
}

unsafe fn decode_group<I: Floats>(args: &Args, unit: usize, group: Group, wire: *const u8, tile: *mut f32) {
    let dim = args.layout.head_dim;
    let n = group.n;
    // SAFETY: the tile is scratch, the wire has the group's bytes.
    unsafe {
        if args.codec == Codec::I8 && args.layout.kind == KvType::I8 {
            return verbatim(args, unit, group, |page, at, offset, bytes| {
                page.add(at).copy_from_nonoverlapping(wire.add(offset), bytes)
            });
        }
        let (rows, cols, stride) = shape(Part::of(unit), dim, n);
        match args.codec {
            Codec::F32 => {
                for row in 0..rows {
                    let from = wire.add(row * cols * 4);
                    tile.add(row * stride).cast::<u8>().copy_from_nonoverlapping(from, cols * 4);
                }
            }
            Codec::F16 => {
                for row in 0..rows {
                    load_halves::<I>(tile.add(row * stride), wire.add(row * cols * 2), cols);
                }
            }
            Codec::I8 => {
                let scales = tile.add(dim * GROUP);
                scales.cast::<u8>().copy_from_nonoverlapping(wire, 4 * n);
                load_bytes(Part::of(unit), dim, n, tile, scales, wire.add(4 * n));
            }
            Codec::I4 => {
                let mut from = wire;
                for row in 0..rows {
                    for col in (0..cols).step_by(ROW) {
                        let w = ROW.min(cols - col);
                        decode_row::<I>(tile.add(row * stride + col), from, w);
                        from = from.add(row_bytes(w as u64) as usize);
                    }
                }
            }
        }
        store_tile::<I>(args, unit, group, tile);
    }
}

/// Returns the number of rows of a group's tile, of values in each, and the stride between rows in floats.
fn shape(part: Part, dim: usize, n: usize) -> (usize, usize, usize) {
    match part {
        Part::K => (dim, n, GROUP),
        Part::V => (n, dim, dim),
    }
}
