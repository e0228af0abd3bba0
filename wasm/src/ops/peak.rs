//! How fast this build's int8 product can be from registers alone: the ceiling that benchmarks name.
//!
//!     8 independent accumulators, no memory: iterations x 8 products of 16 (relaxed) or 8 (simd128) multiply-adds

/// Operations of one iteration: a multiply-add is 2.
pub const OPS: u32 = if cfg!(target_feature = "relaxed-simd") { 8 * 16 * 2 } else { 8 * 8 * 2 };

/// Runs `iterations` and returns a checksum, so that nothing is left out.
#[cfg(target_arch = "wasm32")]
pub fn dot(iterations: u32) -> u32 {
    use core::arch::wasm32::*;
    let mut sums = [i32x4_splat(0); 8];
    let mut a = u32x4_splat(core::hint::black_box(0x0102_0304));
    let b = u32x4_splat(core::hint::black_box(0x0504_0302));
    for _ in 0..iterations {
        for sum in &mut sums {
            #[cfg(target_feature = "relaxed-simd")]
            {
                *sum = i32x4_relaxed_dot_i8x16_i7x16_add(a, b, *sum);
            }
            #[cfg(not(target_feature = "relaxed-simd"))]
            {
                *sum = i32x4_add(*sum, i32x4_dot_i16x8(a, b));
            }
        }
        // Another first operand each time, or the products would be hoisted out of the loop.
        a = v128_xor(a, b);
    }
    let total = sums.into_iter().fold(i32x4_splat(0), |x, y| i32x4_add(x, y));
    i32x4_extract_lane::<0>(total) as u32
}

#[cfg(not(target_arch = "wasm32"))]
pub fn dot(iterations: u32) -> u32 {
    iterations
}
