//! Defines the kinds of weight and the sizes of their panels; lib.rs describes the layouts.
use crate::simd::dots::{BLOCK, PANEL};

pub const F32: u32 = 0;
pub const I8: u32 = 1;
pub const I8M: u32 = 2;
pub const I8S: u32 = 3;
pub const F16: u32 = 4;
pub const BF16: u32 = 5;
pub const U4: u32 = 6;

/// Returns the bytes of f16 scales at the head of a panel block: d, then m or the second half's d.
pub const fn head_bytes(kind: u32) -> usize {
    match kind {
        U4 | I8M | I8S => 32,
        I8 => 16,
        _ => 0,
    }
}

/// Returns the bytes of a panel block: 32 k of a quantised kind, one k of a float kind.
pub const fn block_bytes(kind: u32) -> usize {
    match kind {
        U4 => head_bytes(kind) + PANEL * BLOCK / 2,
        I8 | I8M | I8S => head_bytes(kind) + PANEL * BLOCK,
        F32 => PANEL * 4,
        _ => PANEL * 2,
    }
}

/// Returns the number of k in a panel block.
pub const fn block_k(kind: u32) -> usize {
    match kind {
        U4 | I8 | I8M | I8S => BLOCK,
        _ => 1,
    }
}

pub const fn panel_bytes(kind: u32, k: usize) -> usize {
    k / block_k(kind) * block_bytes(kind)
}

/// Returns the bytes of a whole weight (n, k), n padded to whole panels. Saturates in 64 bits, because a file
/// may specify any shape.
pub const fn weight_bytes(kind: u32, n: usize, k: usize) -> u64 {
    let panel = (k as u64 / block_k(kind) as u64).saturating_mul(block_bytes(kind) as u64);
    (n.div_ceil(PANEL) as u64).saturating_mul(panel)
}
