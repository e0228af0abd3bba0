//! The ABI of the wire: blocks of KV pages as bytes, and back. As in lib.rs, TypeScript owns the buffers.
use crate::ops::kv::Layout;
use crate::ops::wire;
use crate::ops::wire::residual::{self, ResidualArgs};
use crate::simd::floats::Native;
use crate::{grain, pool};

/// Bytes of a head's K (`part` 0) or V (1): `codec` 0 f32, 1 f16, 2 int8, 3 int4. 0 for another codec.
#[unsafe(no_mangle)]
pub extern "C" fn wire_bytes(codec: u32, part: usize, head_dim: usize, tokens: usize) -> u64 {
    wire::Codec::new(codec).map_or(0, |codec| wire::unit_bytes(codec, wire::Part::of(part), head_dim, tokens))
}

/// Encodes the K and V of `tokens` tokens of a layer: `units` units from `first` on, where unit 2h is K of head
/// h and 2h + 1 its V; see ops/wire.rs. The tokens begin the first of `pages`. Returns 1 for invalid arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wire_encode(
    codec: u32,
    bytes: *mut u8,
    kv_type: u32,
    layer_base: *mut u8,
    page_bytes: usize,
    kv_heads: usize,
    head_dim: usize,
    pages: *const u32,
    tokens: usize,
    first: usize,
    units: usize,
) -> u32 {
    let layout = Layout::new(kv_type, kv_heads, head_dim);
    let Some(codec) = wire::Codec::new(codec) else { return 1 };
    if first + units > 2 * kv_heads {
        return 1;
    }
    let args = wire::Args { codec, layout, layer_base, page_bytes, pages, tokens, wire: bytes, first };
    unsafe { pool::run(&args, units, grain(tokens * head_dim), wire::encode::<Native>) }
}

/// The inverse of `wire_encode`: writes the bytes' values into the pages.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wire_decode(
    codec: u32,
    bytes: *mut u8,
    kv_type: u32,
    layer_base: *mut u8,
    page_bytes: usize,
    kv_heads: usize,
    head_dim: usize,
    pages: *const u32,
    tokens: usize,
    first: usize,
    units: usize,
) -> u32 {
    let layout = Layout::new(kv_type, kv_heads, head_dim);
    let Some(codec) = wire::Codec::new(codec) else { return 1 };
    if first + units > 2 * kv_heads {
        return 1;
    }
    let args = wire::Args { codec, layout, layer_base, page_bytes, pages, tokens, wire: bytes, first };
    unsafe { pool::run(&args, units, grain(tokens * head_dim), wire::decode::<Native>) }
}

/// Encodes `pages` minus `base` of `layers` layers in at most `room` bytes; see ops/wire/residual.rs. `steps`
/// are (layers, kv_heads, head_dim + 1) f32. Returns the bytes needed; beyond `room` nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wire_encode_residual(
    bytes: *mut u8,
    room: usize,
    kv_type: u32,
    layer_base: *mut u8,
    page_bytes: usize,
    layers: usize,
    kv_heads: usize,
    head_dim: usize,
    pages: *const u32,
    base: *const u32,
    tokens: usize,
    steps: *const f32,
) -> usize {
    let layout = Layout::new(kv_type, kv_heads, head_dim);
    let args = ResidualArgs { layout, layer_base, page_bytes, layers, pages, base, tokens, steps };
    // SAFETY: the caller's buffers have these shapes; so below.
    unsafe { residual::encode::<Native>(&args, bytes, room, pool::scratch()) }
}

/// Adds a residual of `length` bytes to `pages`. Returns 1 for invalid bytes; the pages' contents are then undefined.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wire_decode_residual(
    bytes: *const u8,
    length: usize,
    kv_type: u32,
    layer_base: *mut u8,
    page_bytes: usize,
    layers: usize,
    kv_heads: usize,
    head_dim: usize,
    pages: *const u32,
    tokens: usize,
    steps: *const f32,
) -> u32 {
    let layout = Layout::new(kv_type, kv_heads, head_dim);
    let args = ResidualArgs { layout, layer_base, page_bytes, layers, pages, base: pages, tokens, steps };
    unsafe { !residual::decode::<Native>(&args, bytes, length, pool::scratch()) as u32 }
}
