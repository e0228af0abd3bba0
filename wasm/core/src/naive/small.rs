//! The small kernels by definition, one row at a time.

/// x / rms(x) * w.
pub fn rms_norm(x: &[f32], w: &[f32], eps: f32) -> Vec<f64> {
    let squares: f64 = x.iter().map(|&v| v as f64 * v as f64).sum();
    let inverse = 1.0 / (squares / x.len() as f64 + eps as f64).sqrt();
    x.iter().zip(w).map(|(&v, &w)| v as f64 * inverse * w as f64).collect()
}

/// Rotates the first components of one head by `angles`, two for each. `adjacent` pairs 2i with 2i + 1, else i with i +
/// angles.len().
pub fn rope(x: &[f32], angles: &[f64], adjacent: bool) -> Vec<f64> {
    let half = angles.len();
    let mut out: Vec<f64> = x.iter().map(|&x| x as f64).collect();
    for (i, angle) in angles.iter().enumerate() {
        let (a, b) = if adjacent { (2 * i, 2 * i + 1) } else { (i, i + half) };
        out[a] = x[a] as f64 * angle.cos() - x[b] as f64 * angle.sin();
        out[b] = x[a] as f64 * angle.sin() + x[b] as f64 * angle.cos();
    }
    out
}

/// cap * tanh(x / cap); x if `cap` is 0.
pub fn soft_cap(x: f64, cap: f32) -> f64 {
    if cap == 0.0 { x } else { cap as f64 * (x / cap as f64).tanh() }
}

/// act(gate) * up, where act is gelu by its tanh approximation, or silu.
pub fn activation(gate: f32, up: f32, gelu: bool) -> f64 {
    let x = gate as f64;
    // (1 + tanh(u)) / 2 is 1 / (1 + e^-2u), which does not cancel.
    let gelu_power = || 2.0 * core::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044715 * x * x * x);
    let act = x / (1.0 + (-if gelu { gelu_power() } else { x }).exp());
    act * up as f64
}

/// The causal convolution of one channel at its last input: the sum of the last weights times the inputs, the oldest first,
/// and the sum of the products' magnitudes. Inputs before the first count as 0.
pub fn convolve(inputs: &[f32], weights: &[f32]) -> (f64, f64) {
    let pairs = inputs.iter().rev().zip(weights.iter().rev());
    let products = pairs.map(|(&x, &w)| x as f64 * w as f64);
    (products.clone().sum(), products.map(f64::abs).sum())
}

/// x transposed (x_cols, rows) times y (rows, y_cols), and the sum of the products' magnitudes, row-major.
pub fn moments(x: &[Vec<f32>], y: &[Vec<f32>]) -> Vec<(f64, f64)> {
    let mut all = Vec::new();
    for i in 0..x[0].len() {
        for j in 0..y[0].len() {
            let products = x.iter().zip(y).map(|(x, y)| x[i] as f64 * y[j] as f64);
            all.push((products.clone().sum(), products.map(f64::abs).sum()));
        }
    }
    all
}

/// The `count` largest values with their columns, and the sum of exp(x - largest).
pub fn best(x: &[f32], count: usize) -> (Vec<(f32, usize)>, f64) {
    let mut all: Vec<_> = x.iter().copied().zip(0..).collect();
    all.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
    let top = all[0].0 as f64;
    let sum = x.iter().map(|&x| (x as f64 - top).exp()).sum();
    all.truncate(count);
    (all, sum)
}

/// Returns the value of an f16.
pub fn from_f16(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = ((bits >> 10 & 31) as i32, (bits & 1023) as f64);
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

/// Returns the f16 nearest to `x`, ties to even; found by search.
pub fn to_f16(x: f32) -> u16 {
    if x.is_nan() {
        return 0x7e00;
    }
    let sign = if x.is_sign_negative() { 0x8000 } else { 0 };
    let x = x.abs() as f64;
    // Values from halfway between the largest f16 and the next power of two round to infinity.
    if x >= 65520.0 {
        return sign | 0x7c00;
    }
    let (mut lo, mut hi) = (0u16, 0x7bff);
    while lo < hi {
        let middle = (lo + hi).div_ceil(2);
        if from_f16(middle) <= x { lo = middle } else { hi = middle - 1 }
    }
    let below = x - from_f16(lo);
    let above = if lo == 0x7bff { 65536.0 - x } else { from_f16(lo + 1) - x };
    sign | if below < above || (below == above && lo & 1 == 0) { lo } else { lo + 1 }
}
