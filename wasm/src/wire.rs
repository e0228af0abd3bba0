//! The ABI of the wire: blocks of KV pages as bytes, and back. As lib.rs has it, buffers are TypeScript's.
use crate::ops::kv::Layout;
use crate::ops::wire;
use crate::simd::floats::Native;
use crate::{grain, pool};

/// Bytes of the K (`part` 0) or V (1) of a head on the wire: `codec` 0 f32, 1 f16, 2 int8, 3 int4. 0 for another codec.
#[unsafe(no_mangle)]
pub extern "C" fn wire_bytes(codec: u32, part: usize, head_dim: usize, tokens: usize) -> usize {
    wire::Codec::new(codec).map_or(0, |codec| wire::unit_bytes(codec, wire::Part::of(part), head_dim, tokens))
}

/// The K and V of `tokens` tokens of a layer as bytes of the wire: `units` of them from unit `first` on, unit 2h being K of head
/// h, 2h + 1 its V; see ops/wire.rs. The tokens begin the first of `pages`. 1 if the arguments don't fit.
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

/// The inverse: writes the bytes' values into the pages.
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
