//! Convolutions over pages, and products of rows, against the definition, over ragged shapes and passes.
mod common;
use common::{EPS, Random, near, seed};
use foretoken_core::naive::small;
use foretoken_core::{convolve, kv_layer_bytes, multiply, write_kv};

const PAGE: usize = 16;

struct World {
    kv_heads: usize,
    head_dim: usize,
    kv_type: u32,
    taps: usize,
    /// Shape (taps, channels).
    weights: Vec<f32>,
    layer_bytes: usize,
    pool: Vec<u8>,
    /// The inputs of each sequence by position, and the factors beside them.
    inputs: Vec<Vec<Vec<f32>>>,
    factors: Vec<Vec<Vec<f32>>>,
    tables: Vec<Vec<u32>>,
}

impl World {
    fn new(random: &mut Random, shape: (usize, usize, u32, usize), lengths: &[usize]) -> Self {
        let (kv_heads, head_dim, kv_type, taps) = shape;
        let channels = 2 * kv_heads * head_dim;
        let layer_bytes = kv_layer_bytes(kv_type, kv_heads, head_dim) as usize;
        let mut rows =
            || lengths.iter().map(|&n| (0..n).map(|_| random.floats(channels, 2.0)).collect()).collect::<Vec<_>>();
        let (inputs, factors) = (rows(), rows());
        let total: usize = lengths.iter().map(|n| n.div_ceil(PAGE)).sum();
        let mut free: Vec<u32> = (0..total as u32).collect();
        let tables = lengths
            .iter()
            .map(|n| (0..n.div_ceil(PAGE)).map(|_| free.swap_remove(random.below(free.len()))).collect())
            .collect();
        let weights = random.floats(taps * channels, 1.5);
        // Two layers, of which the second is used, so that offsets matter. Pages begin with what is no number.
        let pool = vec![0xff; 2 * total * layer_bytes];
        World { kv_heads, head_dim, kv_type, taps, weights, layer_bytes, pool, inputs, factors, tables }
    }

    fn channels(&self) -> usize {
        2 * self.kv_heads * self.head_dim
    }

    /// Runs one pass over (sequence, past, length) parts; returns rows in pass order.
    fn pass(&mut self, parts: &[(usize, usize, usize)]) -> Vec<Vec<f32>> {
        let channels = self.channels();
        let stride = channels + 3;
        let (mut x, mut out, mut slots, mut segments, mut table) = (vec![], vec![], vec![], vec![], vec![]);
        let mut start = 0;
        for &(sequence, past, length) in parts {
            for position in past..past + length {
                x.extend_from_slice(&self.inputs[sequence][position]);
                x.extend([f32::NAN; 3]);
                out.extend_from_slice(&self.factors[sequence][position]);
                out.extend([7.0; 3]);
                slots.push(self.tables[sequence][position / PAGE] * PAGE as u32 + (position % PAGE) as u32);
            }
            segments.push([start as u32, length as u32, past as u32, table.len() as u32]);
            table.extend_from_slice(&self.tables[sequence]);
            start += length;
        }
        let page_bytes = 2 * self.layer_bytes;
        let layer = self.pool[self.layer_bytes..].as_mut_ptr();
        let (heads, dim) = (self.kv_heads, self.head_dim);
        // SAFETY: shapes as built above.
        unsafe {
            let (kv_type, x, v) = (self.kv_type, x.as_ptr(), channels / 2);
            let status = write_kv(kv_type, layer, page_bytes, x, stride, 0, v, heads, dim, slots.as_ptr(), start);
            assert_eq!(status, 0);
            let status = convolve(
                out.as_mut_ptr(),
                stride,
                self.weights.as_ptr(),
                self.taps,
                heads,
                dim,
                kv_type,
                layer,
                page_bytes,
                segments.as_ptr(),
                segments.len(),
                table.as_ptr(),
                start,
            );
            assert_eq!(status, 0);
        }
        for row in out.chunks(stride) {
            assert_eq!(row[channels..], [7.0; 3], "columns behind the channels changed");
        }
        out.chunks(stride).map(|row| row[..channels].to_vec()).collect()
    }

    fn check(&self, parts: &[(usize, usize, usize)], out: &[Vec<f32>], context: &str) {
        let channels = self.channels();
        let mut row = 0;
        for &(sequence, past, length) in parts {
            for position in past..past + length {
                for (channel, &got) in out[row].iter().enumerate() {
                    let inputs: Vec<f32> = (0..=position).map(|at| self.inputs[sequence][at][channel]).collect();
                    let weights: Vec<f32> = (0..self.taps).map(|tap| self.weights[tap * channels + channel]).collect();
                    let (sum, magnitude) = small::convolve(&inputs, &weights);
                    let factor = self.factors[sequence][position][channel] as f64;
                    // Halves are off by 2^-11 of their size; int8 by 1/254 of the head's largest input, which is at most 2.
                    let kept = match self.kv_type {
                        0 => 0.0,
                        1 => magnitude / 2048.0,
                        _ => weights.iter().map(|w| w.abs() as f64).sum::<f64>() * 2.0 / 254.0 * (1.0 + 1e-5),
                    };
                    // A product and a sum for each tap, and the product with the factor.
                    let bound = factor.abs() * (kept + magnitude * (2.0 * self.taps as f64 + 1.0) * EPS) * (1.0 + 1e-3);
                    near(got, sum * factor, bound + 1e-30, || {
                        format!("{context}: sequence {sequence}, position {position}, channel {channel}")
                    });
                }
                row += 1;
            }
        }
    }
}

fn shapes() -> Vec<(usize, usize, u32, usize)> {
    let mut shapes = vec![];
    for (kv_heads, head_dim) in [(1, 8), (3, 24), (2, 64), (1, 256)] {
        for kv_type in 0..3 {
            shapes.extend([1, 2, 3, 4, 16].map(|taps| (kv_heads, head_dim, kv_type, taps)));
        }
    }
    shapes
}

#[test]
fn equals_the_definition_in_packed_ragged_passes() {
    let seed = seed(41);
    let mut random = Random(seed);
    for shape in shapes() {
        let lengths = [1, 2, 15, 16, 17, 33, 1 + random.below(60)];
        let mut world = World::new(&mut random, shape, &lengths);
        let parts: Vec<_> = lengths.iter().enumerate().map(|(i, &n)| (i, 0, n)).collect();
        let out = world.pass(&parts);
        world.check(&parts, &out, &format!("seed {seed}, {shape:?}"));
    }
}

#[test]
fn a_row_has_the_same_bits_however_its_pass_is_cut_and_shared() {
    let seed = seed(42);
    let mut random = Random(seed);
    for shape in shapes() {
        let lengths = [70, 20, 41];
        let mut world = World::new(&mut random, shape, &lengths);
        let whole = world.pass(&[(0, 0, 70)]);
        let mut past = [0; 3];
        let mut chunked = vec![];
        while past[0] < 70 {
            let mut parts = vec![];
            for sequence in [1, 0, 2] {
                let length = (1 + random.below(19)).min(lengths[sequence] - past[sequence]);
                if length > 0 {
                    parts.push((sequence, past[sequence], length));
                }
            }
            let out = world.pass(&parts);
            let mut row = 0;
            for (sequence, start, length) in parts {
                if sequence == 0 {
                    chunked.extend_from_slice(&out[row..row + length]);
                }
                row += length;
                past[sequence] = start + length;
            }
        }
        assert_eq!(chunked, whole, "seed {seed}, {shape:?}");
    }
}

#[test]
fn products_of_rows_equal_the_definition() {
    let mut random = Random(seed(43));
    for (rows, n) in [(1, 1), (2, 3), (7, 8), (33, 65)] {
        let (x, y) = (random.floats(rows * (n + 2), 3.0), random.floats(rows * (n + 1), 3.0));
        let mut got = x.clone();
        assert_eq!(unsafe { multiply(got.as_mut_ptr(), n + 2, y.as_ptr(), n + 1, n, rows) }, 0);
        for (at, &value) in got.iter().enumerate() {
            let (row, col) = (at / (n + 2), at % (n + 2));
            let want = if col < n { x[at] * y[row * (n + 1) + col] } else { x[at] };
            assert_eq!(value.to_bits(), want.to_bits());
        }
    }
}
