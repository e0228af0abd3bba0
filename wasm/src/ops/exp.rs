//! 2^x and e^x on four lanes.
use crate::simd::floats::Floats;

/// 2^x for x in -127..127 within 2e-7 of its value; exactly 1 at 0, exactly 0 at -127 and below. NaN stays NaN.
///
/// x = n + f with |f| <= 0.5; 2^f by a polynomial of degree 5 (fitted here for the least relative error, 9e-8), 2^n by
/// its bits.
#[inline(always)]
pub fn exp2<I: Floats>(x: I::F) -> I::F {
    /// 1.5 * 2^23: adding it rounds to a whole number, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = I::pmax(x, I::splat(-127.0));
    let shifted = I::add(x, I::splat(ROUND));
    let f = I::sub(x, I::sub(shifted, I::splat(ROUND)));
    let p = I::mul_add(f, I::splat(0.001_326_472_7), I::splat(0.009_671_513));
    let p = I::mul_add(f, p, I::splat(0.055_507_336));
    let p = I::mul_add(f, p, I::splat(0.240_222_42));
    let p = I::mul_add(f, p, I::splat(0.693_147));
    I::mul(I::mul_add(f, p, I::splat(1.0)), I::power_of_two(shifted))
}

/// e^x within 2e-7 + 1e-7 |x| of its value, relatively; at most 2^127.
#[inline(always)]
pub fn exp<I: Floats>(x: I::F) -> I::F {
    exp2::<I>(I::pmin(I::mul(x, I::splat(core::f32::consts::LOG2_E)), I::splat(127.0)))
}
