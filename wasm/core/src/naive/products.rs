//! Matrix products and quantization by definition.

/// A sum and the sum of its terms' magnitudes, from which bounds on rounding are made.
pub struct Sum {
    pub value: f64,
    pub size: f64,
}

/// out[row][col] = sum over i of x(row, i) * w(col, i).
pub fn product(k: usize, x: impl Fn(usize) -> f64, w: impl Fn(usize) -> f64) -> Sum {
    let mut sum = Sum { value: 0.0, size: 0.0 };
    for i in 0..k {
        let term = x(i) * w(i);
        sum.value += term;
        sum.size += term.abs();
    }
    sum
}

/// Returns the step of a block of 32 activations and their quantized values.
pub fn quantize(x: &[f32]) -> (f64, Vec<f64>) {
    let most = x.iter().fold(0f64, |most, &x| most.max((x as f64).abs()));
    let step = most / 127.0;
    (step, x.iter().map(|&x| if step > 0.0 { (x as f64 / step).round() } else { 0.0 }).collect())
}

/// Returns element `i` of a row of Q4_1: 20 bytes for 32, f16 scale and minimum, then nibbles.
pub fn q4_1(row: &[u8], i: usize) -> f64 {
    let block = &row[i / 32 * 20..];
    let byte = block[4 + i % 16];
    half(block, 0) * (if i % 32 < 16 { byte & 15 } else { byte >> 4 }) as f64 + half(block, 2)
}

/// Returns element `i` of a row of Q8_0: 34 bytes for 32, f16 scale, then int8.
pub fn q8_0(row: &[u8], i: usize) -> f64 {
    let block = &row[i / 32 * 34..];
    half(block, 0) * block[2 + i % 32] as i8 as f64
}

fn half(bytes: &[u8], at: usize) -> f64 {
    super::small::from_f16(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}
