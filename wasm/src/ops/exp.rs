//! e^x on four lanes.
use crate::simd::floats::Floats;

/// e^x within 3e-7 of its value for x in -87..88; exactly 1 at 0 and exactly 0 at -88 and below; at most e^88. NaN stays NaN.
///
/// x = n ln 2 + r with |r| <= 0.3466; e^r by a polynomial of degree 5 (relative error 1.1e-7, fitted for this range),
/// 2^n by its bits.
#[inline(always)]
pub fn exp<I: Floats>(x: I::F) -> I::F {
    /// 1.5 * 2^23: adding it rounds to a whole number, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = I::pmax(x, I::splat(-88.0));
    let x = I::pmin(x, I::splat(88.0));
    let shifted = I::add(I::mul(x, I::splat(core::f32::consts::LOG2_E)), I::splat(ROUND));
    let n = I::sub(shifted, I::splat(ROUND));
    // ln 2 in two parts, the first with few enough bits for n times it to be exact.
    let r = I::sub(x, I::mul(n, I::splat(0.693_359_4)));
    let r = I::sub(r, I::mul(n, I::splat(-2.121_944_4e-4)));
    let p = I::add(I::mul(r, I::splat(0.008_312_515)), I::splat(0.041_890_21));
    let p = I::add(I::mul(p, r), I::splat(0.166_671_15));
    let p = I::add(I::mul(p, r), I::splat(0.499_992_3));
    let p = I::add(I::mul(I::mul(p, r), r), r);
    I::mul(I::add(p, I::splat(1.0)), I::power_of_two(shifted))
}
