//! The wire's formats by definition: one head's K (head_dim, tokens) or V (tokens, head_dim), value by value.
use super::small::from_f16;
use crate::ops::wire::{Codec, Part};

/// Decodes the bytes of a unit to values by (token, dimension).
pub fn decode(codec: Codec, part: Part, head_dim: usize, tokens: usize, bytes: &[u8]) -> Vec<Vec<f64>> {
    let mut at = 0;
    let mut take = |n: usize| {
        at += n;
        &bytes[at - n..at]
    };
    let mut all = Vec::new();
    for first in (0..tokens).step_by(32) {
        let n = 32.min(tokens - first);
        let mut group = vec![vec![0.0; head_dim]; n];
        let scales: Vec<f64> = if codec == Codec::I8 { (0..n).map(|_| f32_of(take(4))).collect() } else { vec![] };
        let (rows, cols) = if part == Part::K { (head_dim, n) } else { (n, head_dim) };
        for row in 0..rows {
            let mut values = Vec::new();
            while values.len() < cols {
                match codec {
                    Codec::F32 => values.push(f32_of(take(4))),
                    Codec::F16 => values.push(f16_of(take(2))),
                    Codec::I8 => {
                        let token = if part == Part::K { values.len() } else { row };
                        values.push(take(1)[0] as i8 as f64 * scales[token]);
                    }
                    Codec::I4 => {
                        let w = 32.min(cols - values.len());
                        let (d, m) = (f16_of(take(2)), f16_of(take(2)));
                        let nibbles = take(w.div_ceil(2));
                        let half = nibbles.len();
                        let q = |i: usize| if i < half { nibbles[i] & 15 } else { nibbles[i - half] >> 4 };
                        values.extend((0..w).map(|i| d * q(i) as f64 + m));
                    }
                }
            }
            for (col, value) in values.into_iter().enumerate() {
                let (token, d) = if part == Part::K { (col, row) } else { (row, col) };
                group[token][d] = value;
            }
        }
        all.extend(group);
    }
    assert_eq!(at, bytes.len(), "all bytes are used");
    all
}

/// Returns the maximum error of a code: half a step, plus the rounding of scales.
pub fn bound(codec: Codec, part: Part, values: &[Vec<f32>], token: usize, d: usize) -> f64 {
    let size = values[token][d].abs() as f64;
    match codec {
        Codec::F32 => 0.0,
        Codec::F16 => size * 2f64.powi(-11) + 2f64.powi(-25),
        Codec::I8 => {
            let most = values[token].iter().fold(0f32, |a, b| a.max(b.abs())) as f64;
            if most < 1e-36 { most } else { most / 127.0 * 0.50001 }
        }
        Codec::I4 => {
            let row: Vec<f64> = match part {
                Part::K => {
                    let first = token / 32 * 32;
                    values[first..values.len().min(first + 32)].iter().map(|v| v[d] as f64).collect()
                }
                Part::V => {
                    let first = d / 32 * 32;
                    let some = &values[token][first..values[token].len().min(first + 32)];
                    some.iter().map(|&v| v as f64).collect()
                }
            };
            let (least, most) = row.iter().fold((f64::MAX, f64::MIN), |(a, b), &v| (a.min(v), b.max(v)));
            // d and m are binary16: the maximum may lie 15 rounding errors of d, and one of m, beyond the last code.
            let step = (most - least) / 15.0;
            step / 2.0 + 16.0 * (step * 2f64.powi(-11) + 2f64.powi(-25)) + least.abs() * 2f64.powi(-11)
        }
    }
}

fn f32_of(bytes: &[u8]) -> f64 {
    f32::from_le_bytes(bytes.try_into().unwrap()) as f64
}

fn f16_of(bytes: &[u8]) -> f64 {
    from_f16(u16::from_le_bytes(bytes.try_into().unwrap()))
}
