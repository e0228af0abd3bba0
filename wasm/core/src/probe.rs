//! Probes how the engine's relaxed dot product behaves, on crafted bytes.
//!
//! `i32x4.relaxed_dot_i8x16_i7x16_add_s` may be implemented in several ways where a byte of the second
//! operand has its top bit set, and at least one engine ships it wrong altogether (Node 20 behind its
//! flag returns doubled sums). `WebAssembly.validate` alone is therefore not enough to use it.

/// Exact where the specification leaves no choice: first operand -128..127, second 0..127.
pub const EXACT: u32 = 1;
/// Second operands of 128..255 count as unsigned, and nothing saturates (x86 `vpdpbusd`).
pub const UNSIGNED_SECOND: u32 = 2;
/// Second operands of 128..255 count as signed (Arm `sdot`).
pub const SIGNED_SECOND: u32 = 4;

/// A dot product of 16 bytes in groups of 4, onto 4 sums.
pub type Dot = fn([i8; 16], [u8; 16], [i32; 4]) -> [i32; 4];

/// Returns the bits above that hold for `dot`; the last two only together with the first.
pub fn classify(dot: Dot) -> u32 {
    if !agrees(dot, 0x7f, |b| b as i32) {
        return 0;
    }
    let unsigned = agrees(dot, 0xff, |b| b as i32);
    let signed = agrees(dot, 0xff, |b| b as i8 as i32);
    EXACT | if unsigned { UNSIGNED_SECOND } else { 0 } | if signed { SIGNED_SECOND } else { 0 }
}

/// Returns true if `dot` yields the defined sums on extremes and on a few hundred mixed inputs with
/// second operands in 0..=mask.
fn agrees(dot: Dot, mask: u8, second: fn(u8) -> i32) -> bool {
    let extremes = [(-128i8, mask), (127, mask), (-128, 1), (127, 0), (1, mask), (-1, mask)];
    let mut state = 0x2545_f491u32;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    for round in 0..320 {
        let mut a = [0i8; 16];
        let mut b = [0u8; 16];
        let mut sums = [0i32; 4];
        for lane in 0..16 {
            (a[lane], b[lane]) = match extremes.get(round) {
                Some(&pair) => pair,
                // Every value of the first operand meets every lane; extremes are mixed too.
                None if round < 64 => {
                    ([-128, 127, -127, 0][random() as usize % 4], [mask, 0, 1, mask / 2 + 1][random() as usize % 4])
                }
                None => ((round * 16 + lane) as u8 as i8, random() as u8 & mask),
            };
            sums[lane / 4] = random() as i32 >> 4;
        }
        // The inputs must be unknown at compile time, or the compiler could fold the answer.
        let got = dot(core::hint::black_box(a), core::hint::black_box(b), core::hint::black_box(sums));
        for group in 0..4 {
            let products = (4 * group..4 * group + 4).map(|lane| a[lane] as i32 * second(b[lane]));
            if got[group] != sums[group] + products.sum::<i32>() {
                return false;
            }
        }
    }
    true
}

/// Returns the bits for this engine's relaxed dot; 0 in builds without relaxed SIMD.
pub fn probe() -> u32 {
    #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
    return classify(relaxed_dot);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "relaxed-simd")))]
    0
}

#[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
fn relaxed_dot(a: [i8; 16], b: [u8; 16], sums: [i32; 4]) -> [i32; 4] {
    use core::arch::wasm32::*;
    let mut out = [0i32; 4];
    // SAFETY: loads and stores of whole 16-byte arrays, alignment not needed.
    unsafe {
        let (a, b) = (v128_load(a.as_ptr().cast()), v128_load(b.as_ptr().cast()));
        let sums = v128_load(sums.as_ptr().cast());
        v128_store(out.as_mut_ptr().cast(), i32x4_relaxed_dot_i8x16_i7x16_add(a, b, sums));
    }
    out
}
