//! Residuals of a prediction on the wire, against the format's definition; damaged and foreign bytes.
mod common;
use common::{Random, seed, set_scratch};
use foretoken_core::naive::residual as naive;
use foretoken_core::ops::wire::range::{Bit, Decoder, Encoder};
use foretoken_core::{
    kv_layer_bytes, scratch_bytes, wire_decode_residual, wire_encode, wire_encode_residual, write_kv,
};

#[derive(Clone, Copy)]
struct Shape {
    kv_type: u32,
    layers: usize,
    heads: usize,
    dim: usize,
    tokens: usize,
}

/// Pages of all layers: those of the exact values, then those of the prediction, then one of nobody's.
struct Pool {
    shape: Shape,
    bytes: Vec<u8>,
    page_bytes: usize,
    exact: Vec<u32>,
    base: Vec<u32>,
    steps: Vec<f32>,
}

impl Pool {
    /// Differences are about `size` steps large.
    fn new(random: &mut Random, shape: Shape, size: f32) -> Self {
        let Shape { kv_type, layers, heads, dim, tokens } = shape;
        set_scratch(scratch_bytes(32, dim, 1) as usize);
        let count = tokens.div_ceil(16) as u32;
        let page_bytes = layers * kv_layer_bytes(kv_type, heads, dim) as usize;
        let bytes = vec![0xa5; (2 * count as usize + 1) * page_bytes];
        // Some values are not sent; steps differ.
        let steps = (0..layers * heads * (dim + 1))
            .map(|i| if i % 13 == 5 { 0.0 } else { 0.05 * (1.0 + random.float(0.5)) })
            .collect();
        let (exact, base) = ((0..count).rev().collect(), (count..2 * count).collect());
        let mut pool = Self { shape, bytes, page_bytes, exact, base, steps };
        for layer in 0..layers {
            let width = 2 * heads * dim;
            let x = random.floats(tokens * width, 2.0);
            let mut y: Vec<f32> = x.iter().map(|&v| v + random.float(0.1 * size)).collect();
            y[0] += 600.0;
            pool.write(layer, &pool.exact.clone(), &x);
            pool.write(layer, &pool.base.clone(), &y);
        }
        pool
    }

    fn layer(&mut self, layer: usize) -> *mut u8 {
        let Shape { kv_type, heads, dim, .. } = self.shape;
        self.bytes[layer * kv_layer_bytes(kv_type, heads, dim) as usize..].as_mut_ptr()
    }

    fn write(&mut self, layer: usize, pages: &[u32], x: &[f32]) {
        let Shape { kv_type, heads, dim, tokens, .. } = self.shape;
        let slots: Vec<u32> = (0..tokens).map(|t| pages[t / 16] * 16 + (t % 16) as u32).collect();
        let (base, bytes, width) = (self.layer(layer), self.page_bytes, heads * dim);
        let (x, slots) = (x.as_ptr(), slots.as_ptr());
        unsafe { write_kv(kv_type, base, bytes, x, 2 * width, 0, width, heads, dim, slots, tokens) };
    }

    /// Values by (layer, unit, token, dimension), through the exact codec.
    fn values(&mut self, pages: &[u32]) -> Vec<f32> {
        let Shape { kv_type, layers, heads, dim, tokens } = self.shape;
        let mut all = Vec::new();
        for layer in 0..layers {
            for unit in 0..2 * heads {
                let mut bytes = vec![0u8; dim * tokens * 4];
                let (to, base, pages) = (bytes.as_mut_ptr(), self.layer(layer), pages.as_ptr());
                let status =
                    unsafe { wire_encode(0, to, kv_type, base, self.page_bytes, heads, dim, pages, tokens, unit, 1) };
                assert_eq!(status, 0);
                let floats: Vec<f32> = bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
                for token in 0..tokens {
                    let (first, n) = (token / 32 * 32, 32.min(tokens - token / 32 * 32));
                    for d in 0..dim {
                        let at = if unit % 2 == 0 { d * n + token - first } else { (token - first) * dim + d };
                        all.push(floats[first * dim + at]);
                    }
                }
            }
        }
        all
    }

    fn encode(&mut self, room: usize) -> (Vec<u8>, usize) {
        let Shape { kv_type, layers, heads, dim, tokens } = self.shape;
        let mut bytes = vec![0x5a; room + 16];
        let (to, base, pages) = (bytes.as_mut_ptr(), self.layer(0), self.page_bytes);
        let (exact, predicted, steps) = (self.exact.as_ptr(), self.base.as_ptr(), self.steps.as_ptr());
        let length = unsafe {
            wire_encode_residual(to, room, kv_type, base, pages, layers, heads, dim, exact, predicted, tokens, steps)
        };
        assert!(bytes[room..].iter().all(|&byte| byte == 0x5a), "written beyond the room");
        bytes.truncate(length.min(room));
        (bytes, length)
    }

    fn decode(&mut self, bytes: &[u8]) -> u32 {
        let Shape { kv_type, layers, heads, dim, tokens } = self.shape;
        let (base, pages) = (self.layer(0), self.page_bytes);
        let (to, steps) = (self.base.as_ptr(), self.steps.as_ptr());
        let (from, length) = (bytes.as_ptr(), bytes.len());
        unsafe { wire_decode_residual(from, length, kv_type, base, pages, layers, heads, dim, to, tokens, steps) }
    }
}

const SHAPES: [Shape; 4] = [
    Shape { kv_type: 0, layers: 1, heads: 1, dim: 8, tokens: 1 },
    Shape { kv_type: 0, layers: 3, heads: 2, dim: 16, tokens: 37 },
    Shape { kv_type: 1, layers: 2, heads: 3, dim: 64, tokens: 64 },
    Shape { kv_type: 2, layers: 2, heads: 1, dim: 40, tokens: 100 },
];

#[test]
fn the_bytes_mean_what_the_format_says() {
    let mut random = Random(seed(41));
    for shape in SHAPES {
        for size in [0.0, 0.2, 1.0, 20.0] {
            let mut pool = Pool::new(&mut random, shape, size);
            let (bytes, length) = pool.encode(1 << 20);
            assert_eq!(bytes.len(), length);
            let Shape { layers, heads, dim, tokens, kv_type } = shape;
            let step = |layer: usize, unit: usize, d: usize| {
                pool.steps[(layer * heads + unit / 2) * (dim + 1) + if unit & 1 == 0 { d } else { dim }]
            };
            let (codes, whole) = naive::decode(&bytes, (layers, heads, dim, tokens), |l, u, d| step(l, u, d) > 0.0);
            assert!(whole, "the definition uses {length} bytes");
            let steps: Vec<f32> = (0..codes.len())
                .map(|at| step(at / dim / tokens / 2 / heads, at / dim / tokens % (2 * heads), at % dim))
                .collect();
            let (exact, base) = (pool.values(&pool.exact.clone()), pool.values(&pool.base.clone()));
            assert_eq!(pool.decode(&bytes), 0);
            let got = pool.values(&pool.base.clone());
            // What int8 pages round depends on the largest of 40 values; halves lose 11 bits.
            let most = got.iter().fold(0f32, |a, b| a.max(b.abs()));
            let rounded = |value: f32| [1e-5, 1e-3 * value.abs() + 1e-5, most / 254.0 * 1.01][kv_type as usize];
            for at in 0..codes.len() {
                let distance = codes[at].signum() as f32 * (codes[at].abs() as f32 - 0.06) * steps[at];
                let want = if codes[at] == 0 { base[at] } else { base[at] + distance };
                assert!((got[at] - want).abs() <= rounded(want) + want.abs() * 1e-6, "{at}: {} for {want}", got[at]);
                let error = (got[at] - exact[at]).abs();
                assert!(steps[at] == 0.0 || error <= 0.701 * steps[at] + rounded(want), "{at}: {error} off exact");
            }
            assert!(pool.bytes[2 * pool.exact.len() * pool.page_bytes..].iter().all(|&byte| byte == 0xa5));
        }
    }
}

#[test]
fn equal_pages_take_next_to_nothing() {
    let mut pool = Pool::new(&mut Random(7), SHAPES[2], 1.0);
    pool.base = pool.exact.clone();
    let (bytes, _) = pool.encode(1 << 16);
    assert!(bytes.len() < 200, "{} bytes for 49152 zeros", bytes.len());
}

#[test]
fn a_short_room_is_told_the_length() {
    let mut pool = Pool::new(&mut Random(8), SHAPES[1], 1.0);
    let (whole, length) = pool.encode(1 << 16);
    let (part, same) = pool.encode(100);
    assert_eq!((part.as_slice(), same), (&whole[..100], length));
}

#[test]
fn bytes_that_are_cut_lengthened_or_foreign_are_refused_or_harmless() {
    let mut random = Random(seed(43));
    let mut pool = Pool::new(&mut random, SHAPES[1], 2.0);
    let (bytes, _) = pool.encode(1 << 16);
    let before = pool.bytes.clone();
    for length in 0..bytes.len() {
        assert_eq!(pool.decode(&bytes[..length]), 1, "cut to {length}");
    }
    assert_eq!(pool.decode(&[bytes.clone(), vec![0]].concat()), 1);
    for _ in 0..2000 {
        let mut damaged = bytes.clone();
        damaged[random.below(bytes.len())] ^= 1 << random.below(8);
        pool.decode(&damaged);
        let length = random.below(400);
        pool.decode(&(0..length).map(|_| random.next() as u8).collect::<Vec<_>>());
    }
    let (layer, own) = (2 * pool.exact.len() * pool.page_bytes, pool.exact.len() * pool.page_bytes);
    assert_eq!(pool.bytes[layer..], before[layer..], "a page of nobody's was written");
    assert_eq!(pool.bytes[..own], before[..own], "pages that are only read were written");
}

#[test]
fn bits_come_back_whatever_their_odds() {
    let mut random = Random(seed(44));
    for odds in [2, 3, 50, 5000] {
        let bits: Vec<bool> = (0..20_000).map(|_| random.below(odds) == 0).collect();
        let mut bytes = vec![0u8; 20_000];
        let mut encoder = Encoder::new(bytes.as_mut_ptr(), bytes.len());
        let mut model = Bit::new(16_384);
        for &bit in &bits {
            unsafe { encoder.bit(&mut model, bit) };
        }
        unsafe { encoder.end() };
        let p = 1.0 / odds as f64;
        let entropy = -(p * p.log2() + (1.0 - p) * (1.0 - p).log2()) * bits.len() as f64 / 8.0;
        assert!((encoder.bytes as f64) < 1.06 * entropy + 80.0, "{} bytes, entropy {entropy}", encoder.bytes);
        let mut decoder = unsafe { Decoder::new(bytes.as_ptr(), encoder.bytes) };
        let mut model = Bit::new(16_384);
        assert!(bits.iter().all(|&bit| decoder.bit(&mut model) == bit));
        assert!(decoder.at_end());
    }
}
