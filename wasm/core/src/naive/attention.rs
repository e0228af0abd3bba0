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
