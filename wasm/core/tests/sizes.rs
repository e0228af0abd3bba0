//! Functions that count bytes: right for shapes that fit, and too large for any memory where they don't.
use foretoken_core::{kv_layer_bytes, scratch_bytes, weight_bytes, wire_bytes};

/// More than a wasm memory holds.
const MEMORY: u64 = 1 << 32;
/// The largest number that a caller in wasm can give.
const MOST: usize = u32::MAX as usize;

#[test]
fn sizes_at_the_edges_of_32_bits_are_exact() {
    // (kind, n, k): f32, u4, i8, f16.
    for (kind, n, k, bytes) in [
        (0, 1 << 21, 256, 1u64 << 31),
        (0, 1 << 22, 256, 1 << 32),
        (0, 4_200_000, 256, 4_300_800_000),
        (6, 1 << 24, 256, (1 << 21) * 8 * 160),
        (1, 1 << 24, 256, (1 << 21) * 8 * 272),
        (4, 9, 1 << 28, (2 * 16) << 28),
    ] {
        assert_eq!(weight_bytes(kind, n, k), bytes, "kind {kind}, {n} x {k}");
    }
    assert_eq!(kv_layer_bytes(0, 1 << 14, 1 << 11), 1 << 32);
    assert_eq!(kv_layer_bytes(2, 3, 64), 2 * 3 * 16 * (64 + 4));
    assert_eq!(wire_bytes(0, 0, 1 << 20, 1 << 11), 1 << 33);
}

#[test]
fn no_shape_wraps_to_a_size_that_would_fit() {
    for kind in 0..=6 {
        assert!(weight_bytes(kind, MOST, MOST) > MEMORY, "kind {kind}");
    }
    for kv_type in 0..=2 {
        assert!(kv_layer_bytes(kv_type, MOST, MOST) > MEMORY);
    }
    for codec in 0..=3 {
        for part in 0..=1 {
            assert!(wire_bytes(codec, part, MOST, MOST) > MEMORY);
        }
    }
    for (k, head_dim, group) in [(MOST, 8, 1), (64, MOST, 1), (64, 8, MOST)] {
        assert!(scratch_bytes(k, head_dim, group) > MEMORY, "{k}, {head_dim}, {group}");
    }
}
