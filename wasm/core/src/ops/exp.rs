//! Computes 2^x and e^x on four lanes.
use crate::simd::floats::Floats;

/// 1.5 * 2^23: adding it rounds to a whole number, which is then in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// Constants: least x, rounding, and the polynomial of degree 5 for 2^f, |f| <= 0.5 (fitted for the least relative error,
/// 9e-8), highest power first; log2(e) and the largest x for e^x.
#[allow(clippy::approx_constant)]
static TABLE: [f32; 9] = [
    -127.0,
    ROUND,
    0.001_326_472_7,
    0.009_671_513,
    0.055_507_336,
    0.240_222_42,
    0.693_147,
    core::f32::consts::LOG2_E,
    127.0,
];

/// Constants: sqrt(2 / pi), and the factor of x^3 in the tanh approximation of gelu.
const GELU: [f32; 2] = [0.797_884_6, 0.044_715];

/// Computes powers, with the constants in registers.
pub struct Powers<I: Floats> {
    table: [I::F; 9],
    one: I::F,
}

impl<I: Floats> Powers<I> {
    /// Loads the constants. Call it outside of loops.
    #[inline(always)]
    pub fn load() -> Self {
        // Hides the constants from the compiler: V8 would rebuild each one at every use, with three instructions.
        let table = core::hint::black_box(&TABLE);
        Self { table: core::array::from_fn(|i| I::splat(table[i])), one: I::splat(1.0) }
    }

    /// Returns 2^x for x in -127..127 within 2e-7 of its value; exactly 1 at 0, exactly 0 at -127 and below. NaN stays NaN.
    #[inline(always)]
    pub fn of_two(&self, x: I::F) -> I::F {
        // With x = n + f, 2^f comes from the polynomial and 2^n from its bits.
        let [least, round, a, b, c, d, e, ..] = self.table;
        let x = I::pmax(x, least);
        let shifted = I::add(x, round);
        let f = I::sub(x, I::sub(shifted, round));
        let p = I::mul_add(f, I::mul_add(f, I::mul_add(f, I::mul_add(f, a, b), c), d), e);
        I::mul(I::mul_add(f, p, self.one), I::power_of_two(shifted))
    }

    /// Returns e^x within a relative error of 2e-7 + 1e-7 |x|; at most 2^127.
    #[inline(always)]
    pub fn of_e(&self, x: I::F) -> I::F {
        let [.., log2_e, most] = self.table;
        self.of_two(I::pmin(I::mul(x, log2_e), most))
    }

    /// Returns gelu(x) = x / 2 * (1 + tanh(u)) = x / (1 + e^-2u) with u = sqrt(2 / pi) * (x + 0.044715 x^3).
    #[inline(always)]
    pub fn gelu(&self, x: I::F) -> I::F {
        let cubic = I::mul_add(
            I::mul(I::mul(x, x), x),
            I::splat(-2.0 * GELU[0] * GELU[1]),
            I::mul(x, I::splat(-2.0 * GELU[0])),
        );
        I::div(x, I::add(self.one, self.of_e(cubic)))
    }

    /// Returns cap * tanh(x / cap) = cap - 2 cap / (1 + e^(2x / cap)) within 4e-7 cap, given `cap` and 2 / cap.
    #[inline(always)]
    pub fn soft_cap(&self, x: I::F, cap: I::F, twice_inverse: I::F) -> I::F {
        let power = self.of_e(I::mul(x, twice_inverse));
        I::sub(cap, I::div(I::add(cap, cap), I::add(self.one, power)))
    }

    /// Returns silu(x) = x / (1 + e^-x).
    #[inline(always)]
    pub fn silu(&self, x: I::F) -> I::F {
        I::div(x, I::add(self.one, self.of_e(I::sub(I::splat(0.0), x))))
    }
}
