//! Measures how fast the int8 product of `gemm_u4` is from registers alone: the peak that benchmarks report.
//!
//!     8 independent sums, 2 x 4 operands, no memory: 8 products of 16 (relaxed) or 8 (simd128) multiply-adds a round

/// Number of operations of one iteration; a multiply-add counts as 2.
pub const OPS: u32 = if cfg!(target_feature = "relaxed-simd") { 8 * 16 * 2 } else { 8 * 8 * 2 };

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
    let mut sums = [i32x4_splat(0); 8];
    // There are eight different pairs, new in each round, so that no product is shared or hoisted out of the loop.
    let mut a = [u32x4_splat(black_box(0x0102_0304)), u32x4_splat(black_box(0x0403_0102))];
    let b: [V; 4] = core::array::from_fn(|i| u32x4_splat(black_box(0x0504_0302 + i as u32)));
    let mut left = iterations;
    while left > 0 {
        for i in 0..8 {
            sums[i] = product(sums[i], a[i / 4], b[i % 4]);
        }
        a = [v128_xor(a[1], b[0]), v128_xor(a[0], b[1])];
        // Keeps rounds apart: LLVM would make pairs of dependent products, a fifth slower than possible.
        left = black_box(left - 1);
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
