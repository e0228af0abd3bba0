//! Measures how fast the int8 product of `gemm_u4` is from registers alone: the peak that benchmarks report.
//!
//!     10 independent sums, the pairs of 4 operands, no memory: 10 products of 16 (relaxed) or 8 (simd128) multiply-adds a round

/// Number of sums: enough that their latency (5 cycles) does not limit two dots a cycle, and all fit into registers.
const SUMS: usize = 10;

/// Number of operations of one iteration; a multiply-add counts as 2.
pub const OPS: u32 = SUMS as u32 * if cfg!(target_feature = "relaxed-simd") { 16 * 2 } else { 8 * 2 };

/// Runs `iterations` and returns a checksum, so that no product is optimised away.
#[cfg(target_arch = "wasm32")]
pub fn dot(iterations: u32, lowering: u32) -> u32 {
    use core::arch::wasm32::*;
    #[cfg(target_feature = "relaxed-simd")]
    if lowering != 0 {
        return rounds(iterations, |sum, a, b| i32x4_relaxed_dot_i8x16_i7x16_add(a, b, sum));
    }
    let _ = lowering;
    #[cfg(target_feature = "relaxed-simd")]
    return rounds(iterations, |sum, a, b| i16x8_add(sum, i16x8_relaxed_dot_i8x16_i7x16(a, b)));
    #[cfg(not(target_feature = "relaxed-simd"))]
    rounds(iterations, |sum, a, b| i32x4_add(sum, i32x4_dot_i16x8(a, b)))
}

#[cfg(target_arch = "wasm32")]
#[inline(always)]
fn rounds(iterations: u32, product: impl Fn(V, V, V) -> V) -> u32 {
    use core::arch::wasm32::*;
    use core::hint::black_box;
    let mut sums = [i32x4_splat(0); SUMS];
    // The pairs differ, and are new in each round, so that no product is shared or hoisted out of the loop.
    const PAIRS: [(usize, usize); SUMS] =
        [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3)];
    let mut x: [V; 4] = core::array::from_fn(|i| u32x4_splat(black_box(0x0504_0302 + i as u32)));
    // The end is read again in each round, so that LLVM keeps rounds apart: it would make pairs of dependent products. A
    // counter in memory would do that, too, but takes longer than the products.
    let mut round = 0;
    // SAFETY: it is a local.
    while round < unsafe { (&raw const iterations).read_volatile() } {
        round += 1;
        for (sum, (a, b)) in sums.iter_mut().zip(PAIRS) {
            *sum = product(*sum, x[a], x[b]);
        }
        x = [v128_xor(x[0], x[1]), x[2], x[3], x[0]];
    }
    let total = sums.into_iter().fold(i32x4_splat(0), |x, y| i32x4_add(x, y));
    i32x4_extract_lane::<0>(total) as u32
}

#[cfg(target_arch = "wasm32")]
type V = core::arch::wasm32::v128;

#[cfg(not(target_arch = "wasm32"))]
pub fn dot(iterations: u32, _: u32) -> u32 {
    iterations
}
