//! Products, quantising and repacking against their definitions. The scalar rung natively; the SIMD rungs run the same
//! shapes inside real wasm (test/suites/backend.ts). The seed is in every message.
use foretoken_core::naive::products;
use foretoken_core::ops::{gemm_f32, gemm_int, quantize, repack, weight};
use foretoken_core::simd::dots::Dots;
use foretoken_core::simd::floats::Scalar;

const SEED: u32 = 20_261_124;
const EPS: f64 = 1.0 / 16_777_216.0;

struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
    fn unit(&mut self) -> f32 {
        (self.next() >> 8) as f32 / 16_777_216.0 - 0.5
    }
}

/// Rows of Q4_1 or Q8_0 with scales of a sane size.
fn file_rows(random: &mut Random, source: u32, rows: usize, k: usize) -> Vec<u8> {
    let per = repack::row_bytes(source, 32);
    let mut bytes: Vec<u8> = (0..rows * k / 32 * per).map(|_| random.next() as u8).collect();
    for block in bytes.chunks_mut(per) {
        for half in block.chunks_mut(2).take(if source == repack::Q4_1 { 2 } else { 1 }) {
            half.copy_from_slice(&repack::to_f16(random.unit() * 0.1).to_le_bytes());
        }
    }
    bytes
}

/// The number that element (row, i) of the file stands for.
fn file_value(source: u32, bytes: &[u8], row: usize, i: usize, k: usize) -> f64 {
    let row = &bytes[row * repack::row_bytes(source, k)..];
    if source == repack::Q8_0 { products::q8_0(row, i) } else { products::q4_1(row, i) }
}

/// Quantised rows as kernels have them: groups of 4 rows, or what is left, their runs of 4 k and their blocks side by side.
struct Quantised {
    rows: usize,
    k: usize,
    q: Vec<i8>,
    s: Vec<f32>,
    sums: Vec<f32>,
}

impl Quantised {
    /// Where piece `index` of `count` pieces of a row lies.
    fn piece(&self, row: usize, index: usize, count: usize) -> usize {
        let first = row / 4 * 4;
        first * count + index * (self.rows - first).min(4) + row % 4
    }
    fn q(&self, row: usize, i: usize) -> i8 {
        self.q[self.piece(row, i / 4, self.k / 4) * 4 + i % 4]
    }
    fn s(&self, row: usize, block: usize) -> f32 {
        self.s[self.piece(row, block, self.k / 32)]
    }
    fn sum(&self, row: usize, block: usize) -> f32 {
        self.sums[self.piece(row, block, self.k / 32)]
    }
}

fn quantised(x: &[f32], rows: usize, k: usize) -> Quantised {
    let blocks = rows * k / 32;
    let mut out = Quantised { rows, k, q: vec![0; rows * k], s: vec![0.0; blocks], sums: vec![0.0; blocks] };
    let (q, s, sums) = (out.q.as_mut_ptr(), out.s.as_mut_ptr(), out.sums.as_mut_ptr());
    let args = quantize::Args { q, s, sums, x: x.as_ptr(), x_stride: k, rows, k };
    // SAFETY: the buffers have these shapes.
    unsafe { quantize::body::<Scalar>(&args, 0, rows.div_ceil(4), std::ptr::null_mut()) };
    out
}

#[test]
fn quantising_is_within_half_a_step_and_its_sums_are_true() {
    let mut random = Random(SEED);
    for (rows, k) in [(1, 32), (3, 64), (2, 576), (4, 32), (9, 96), (14, 64)] {
        let x: Vec<f32> = (0..rows * k).map(|_| random.unit() * 8.0).collect();
        let got = quantised(&x, rows, k);
        for (row, block) in (0..rows).flat_map(|row| (0..k / 32).map(move |block| (row, block))) {
            let range = block * 32..block * 32 + 32;
            let s = got.s(row, block);
            let (step, _) = products::quantize(&x[row * k..][range.clone()]);
            assert!((s as f64 - step).abs() <= EPS * step, "row {row}: step {s} for {step}, seed {SEED}");
            let sum: i32 = range.clone().map(|i| got.q(row, i) as i32).sum();
            assert_eq!(got.sum(row, block), s * sum as f32, "row {row}, block {block}, seed {SEED}");
            for i in range {
                let error = (x[row * k + i] - s * got.q(row, i) as f32).abs();
                assert!(error <= s * 0.500_01, "element {row},{i}: off by {error} with step {s}, seed {SEED}");
            }
        }
    }
}

#[test]
fn quantising_survives_what_is_not_a_number() {
    let mut x = vec![1.0f32; 64];
    x[3] = f32::NAN;
    x[40] = f32::INFINITY;
    let got = quantised(&x, 1, 64);
    assert_eq!(got.q[0], 127);
    // 0 * infinity has no sign that is the same everywhere; the other elements of its block are 0.
    assert!(got.q[32..].iter().enumerate().all(|(i, &q)| if i == 8 { q == 127 || q == -128 } else { q == 0 }));
    assert_eq!(got.s[1], f32::INFINITY);
    assert!(got.s[0].is_finite());
    let zero = quantised(&[0.0; 32], 1, 32);
    assert_eq!((zero.s[0], zero.sums[0], zero.q[5]), (0.0, 0.0, 0));
}

#[test]
fn integer_products_match_the_definition_in_every_shape() {
    let mut random = Random(SEED);
    let mut cases = 0;
    for (source, kind) in [(repack::Q4_1, weight::U4), (repack::Q8_0, weight::I8)] {
        for k in [32, 96, 576] {
            for n in [1, 7, 8, 9, 24] {
                for rows in [0, 1, 2, 3, 4, 5, 6, 7, 9, 12] {
                    integer_case(&mut random, source, kind, rows, n, k);
                    cases += 1;
                }
            }
        }
    }
    assert_eq!(cases, 300);
}

fn integer_case(random: &mut Random, source: u32, kind: u32, rows: usize, n: usize, k: usize) {
    let bytes = file_rows(random, source, n, k);
    let mut w = vec![0u8; weight::weight_bytes(kind, n, k) as usize];
    // SAFETY: the buffers have these shapes; so below.
    let status = unsafe { foretoken_core::repack(source, w.as_mut_ptr(), bytes.as_ptr(), 0, n, n, k) };
    assert_eq!(status, 0);
    let x: Vec<f32> = (0..rows * k).map(|_| random.unit() * 4.0).collect();
    let a = quantised(&x, rows, k);
    let mut out = vec![0f32; rows * n];
    let mut scratch = vec![0u64; gemm_int::scratch_bytes(k) as usize / 8];
    let args = gemm_int::Args {
        out: out.as_mut_ptr(),
        out_stride: n,
        q: a.q.as_ptr(),
        s: a.s.as_ptr(),
        sums: a.sums.as_ptr(),
        w: w.as_ptr(),
        rows,
        n,
        k,
        add: false,
    };
    let body = if kind == weight::U4 { gemm_int::u4_body(0) } else { gemm_int::i8_body(kind, 0) };
    unsafe { body(&args, 0, n.div_ceil(8), scratch.as_mut_ptr().cast()) };
    for row in 0..rows {
        for col in 0..n {
            let x = |i: usize| a.s(row, i / 32) as f64 * a.q(row, i) as f64;
            let want = products::product(k, x, |i| file_value(source, &bytes, col, i, k));
            // Scale and minimum are folded apart: each part may be larger than their sum, by 16 steps of at most 0.05.
            let parts = products::product(k, x, |_| 1.6);
            let bound = (k as f64 / 32.0 * 6.0 + 8.0) * EPS * (want.size + parts.size);
            let (got, want) = (out[row * n + col] as f64, want.value);
            assert!(
                (got - want).abs() <= bound,
                "{kind}: {rows}x{n}x{k} at {row},{col}: {got} for {want}, seed {SEED}"
            );
        }
    }
    let element = |row, i| unsafe { repack::element(w.as_ptr(), kind, row, i, k) } as f64;
    for (row, i) in [(0, 0), (n - 1, k - 1), (n / 2, k / 2)] {
        let want = file_value(source, &bytes, row, i, k);
        assert!((element(row, i) - want).abs() <= 4.0 * EPS * (want.abs() + 1.0), "element {row},{i}");
    }
}

#[test]
fn repack_refuses_what_does_not_fit() {
    let mut w = vec![0u8; 4096];
    let rows = [0u8; 4096];
    let mut call = |source, first, rows_count, n, k| unsafe {
        foretoken_core::repack(source, w.as_mut_ptr(), rows.as_ptr(), first, rows_count, n, k)
    };
    assert_eq!(call(repack::Q4_1, 0, 8, 8, 32), 0);
    assert_eq!(call(99, 0, 8, 8, 32), 2);
    assert_eq!(call(repack::Q4_1, 4, 4, 8, 32), 2);
    assert_eq!(call(repack::Q4_1, 0, 9, 8, 32), 2);
    assert_eq!(call(repack::Q4_1, 0, 3, 8, 32), 2);
    assert_eq!(call(repack::Q4_1, 0, 8, 8, 33), 2);
    assert_eq!(call(repack::Q4_K, 0, 8, 8, 32), 2);
}

#[test]
fn the_minimum_of_q4_0_is_minus_eight_scales_for_every_half() {
    let mut w = vec![0u8; weight::weight_bytes(weight::U4, 8, 32) as usize];
    for bits in 0..=u16::MAX {
        let mut rows = [0u8; 8 * 18];
        rows[..2].copy_from_slice(&bits.to_le_bytes());
        // SAFETY: 8 rows of one block each, and their weight.
        let status = unsafe { foretoken_core::repack(repack::Q4_0, w.as_mut_ptr(), rows.as_ptr(), 0, 8, 8, 32) };
        assert_eq!(status, 0);
        let minimum = u16::from_le_bytes([w[16], w[17]]);
        assert_eq!(minimum, repack::to_f16(repack::from_f16(bits) * -8.0), "{bits:04x}");
    }
}

#[test]
fn float_products_match_the_definition() {
    let mut random = Random(SEED);
    for (rows, n, k) in [(1, 8, 1), (2, 5, 7), (4, 16, 172), (9, 9, 64)] {
        let file: Vec<f32> = (0..n * k).map(|_| random.unit()).collect();
        let x: Vec<f32> = (0..rows * k).map(|_| random.unit()).collect();
        let mut w = vec![0u64; weight::weight_bytes(weight::F32, n, k) as usize / 8];
        let mut out = vec![0f32; rows * n];
        unsafe {
            assert_eq!(foretoken_core::repack(0, w.as_mut_ptr().cast(), file.as_ptr().cast(), 0, n, n, k), 0);
            let args = gemm_f32::Args {
                out: out.as_mut_ptr(),
                out_stride: n,
                x: x.as_ptr(),
                x_stride: k,
                w: w.as_ptr().cast(),
                rows,
                n,
                k,
                add: false,
                kind: weight::F32,
            };
            gemm_f32::body::<Scalar>(&args, 0, n.div_ceil(8), std::ptr::null_mut());
        }
        for row in 0..rows {
            for col in 0..n {
                let want = products::product(k, |i| x[row * k + i] as f64, |i| file[col * k + i] as f64);
                let (got, want, size) = (out[row * n + col] as f64, want.value, want.size);
                assert!(
                    (got - want).abs() <= (k as f64 + 2.0) * EPS * size,
                    "{rows}x{n}x{k} at {row},{col}, seed {SEED}"
                );
            }
        }
    }
}

#[test]
fn halves_go_there_and_back() {
    for bits in 0..=0xffffu16 {
        let value = repack::from_f16(bits);
        if value.is_nan() {
            continue;
        }
        assert_eq!(repack::to_f16(value), bits, "{bits:04x} is {value}");
    }
    assert_eq!(repack::to_f16(1e9), 0x7c00);
    assert_eq!(repack::to_f16(1.0 + 1.0 / 2048.0), 0x3c00);
    assert_eq!(repack::to_f16(1.0 + 3.0 / 2048.0), 0x3c02);
}

#[test]
fn rows_from_nibbles_have_the_integers_of_the_expanded_block() {
    let mut random = Random(SEED);
    let nibbles: Vec<u8> = (0..128).map(|_| random.next() as u8).collect();
    let a: Vec<i8> = (0..128).map(|_| random.next() as i8).collect();
    let mut expanded = vec![0u8; Scalar::EXPANDED];
    // SAFETY: the buffers have these sizes.
    unsafe { Scalar::expand_u4((), expanded.as_mut_ptr(), nibbles.as_ptr()) };
    fn check<const R: usize>(a: &[i8], nibbles: &[u8], expanded: &[u8]) {
        let mut sums = [[[0; 4]; 2]; R];
        // SAFETY: as above.
        unsafe {
            Scalar::dots::<R>(&mut sums, a.as_ptr(), expanded.as_ptr(), 0, 8);
            assert_eq!(Scalar::dots_u4::<R>((), a.as_ptr(), nibbles.as_ptr()), sums);
        }
    }
    check::<1>(&a, &nibbles, &expanded);
    check::<3>(&a, &nibbles, &expanded);
    check::<4>(&a, &nibbles, &expanded);
}
