//! Causal attention by definition.
use super::small::soft_cap;

/// Computes one query row: `q` (head_dim) against `keys` and `values`, (n, head_dim) each, all of them visible. Scores
/// have the soft cap `cap`, if it is not 0.
/// Returns the output (head_dim) and, per dimension, the sum of p * |v|, the scale of rounding errors.
pub fn row(q: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>], scale: f32, cap: f32) -> (Vec<f64>, Vec<f64>) {
    let dot = |key: &Vec<f32>| -> f64 { q.iter().zip(key).map(|(&a, &b)| a as f64 * b as f64).sum() };
    let scores: Vec<f64> = keys.iter().map(|key| soft_cap(dot(key) * scale as f64, cap)).collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut out = vec![0.0; q.len()];
    let mut magnitude = vec![0.0; q.len()];
    for (weight, value) in weights.iter().zip(values) {
        for d in 0..q.len() {
            out[d] += weight / total * value[d] as f64;
            magnitude[d] += weight / total * value[d].abs() as f64;
        }
    }
    (out, magnitude)
}

/// Returns the largest sum of |q * k| * scale over the keys: the scale of rounding errors in a score.
pub fn score_magnitude(q: &[f32], keys: &[Vec<f32>], scale: f32) -> f64 {
    let sum = |key: &Vec<f32>| -> f64 { q.iter().zip(key).map(|(&a, &b)| (a as f64 * b as f64).abs()).sum() };
    keys.iter().map(|key| sum(key) * scale as f64).fold(0.0, f64::max)
}

/// Returns numbers in 7 bits, -63..=63, and their scale.
fn seven_bits(x: &[f32]) -> (Vec<i8>, f32) {
    let most = x.iter().fold(0f32, |most, x| most.max(x.abs()));
    let (scale, inverse) = if most < 1e-36 { (0.0, 0.0) } else { (most / 63.0, 63.0 / most) };
    (x.iter().map(|x| (x * inverse).round_ties_even() as i8).collect(), scale)
}

/// Holds what attention in integers should give, and how far floats may be from it.
pub struct Integers {
    pub value: Vec<f64>,
    pub bound: Vec<f64>,
}

/// Computes one query row in 7 bits against the keys and values in int8 from position `first` on; weights have 7 bits of
/// the largest in their block of 128 positions.
pub fn row_in_integers(q: &[f32], stored: &[[(Vec<i8>, f32); 2]], first: usize, scale: f32, cap: f32) -> Integers {
    let seen = &stored[first..];
    let eps = 1.0 / 16_777_216.0;
    let (q, q_scale) = seven_bits(q);
    let scores: Vec<f64> = seen
        .iter()
        .map(|[(k, k_scale), _]| {
            let dot: i64 = q.iter().zip(k).map(|(&a, &b)| a as i64 * b as i64).sum();
            soft_cap(dot as f64 * q_scale as f64 * *k_scale as f64 * scale as f64, cap)
        })
        .collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    // A score is rounded some times, and shifts its weight by as much, relatively.
    let largest = scores.iter().fold(0f64, |most, score| most.max(score.abs()));
    let relative = 16.0 * eps * (largest + 1.0) + 4e-7 * cap as f64 + 4e-7 * (seen.len() / 128 + 3) as f64;
    let mut value = vec![0.0; q.len()];
    let mut bound = vec![1e-30; q.len()];
    for block in first / 128..stored.len().div_ceil(128) {
        let positions = first.max(block * 128)..stored.len().min(block * 128 + 128);
        let scaled: Vec<f64> = positions.clone().map(|at| weights[at - first] * stored[at][1].1 as f64).collect();
        let most = scaled.iter().copied().fold(0.0, f64::max);
        for (at, &w) in positions.zip(&scaled) {
            let seven = if most > 0.0 { w * 127.0 / most } else { 0.0 };
            // As near to a tie as floats are to the truth: it may go either way.
            let tie = (seven.fract() - 0.5).abs() < 127.0 * 2.0 * relative;
            for (d, &v) in stored[at][1].0.iter().enumerate() {
                let part = most / 127.0 / total * v as f64;
                value[d] += seven.round_ties_even() * part;
                bound[d] += part.abs() * (seven.round_ties_even() * 4.0 * relative + if tie { 1.0 } else { 0.0 });
            }
        }
    }
    let terms = (seen.len() + 20) as f64 * 2.0 * eps;
    bound.iter_mut().zip(&value).for_each(|(bound, value)| *bound += terms * value.abs());
    Integers { value, bound }
}
