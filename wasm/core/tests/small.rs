//! Norms, RoPE, SwiGLU, row kernels and exp, against their definitions, over ragged shapes.
mod common;
use common::{EPS, Random, near, seed};
use foretoken_core::naive::small;
use foretoken_core::ops::exp::Powers;
use foretoken_core::simd::floats::Native;
use foretoken_core::{activation, add_bias, gather_rows, head_norm, moments, rms_norm, rope, scale_add, soft_cap};

const ROWS: [usize; 4] = [1, 2, 7, 33];

/// Rows of `cols` in a wider matrix whose padding is NaN.
fn padded(rows: &[Vec<f32>], stride: usize) -> Vec<f32> {
    let mut all = vec![f32::NAN; rows.len() * stride];
    for (row, values) in rows.iter().enumerate() {
        all[row * stride..row * stride + values.len()].copy_from_slice(values);
    }
    all
}

fn matrix(random: &mut Random, rows: usize, cols: usize, size: f32) -> Vec<Vec<f32>> {
    (0..rows).map(|_| random.floats(cols, size)).collect()
}

#[test]
fn powers_are_within_their_bounds() {
    let powers = Powers::<Native>::load();
    let mut x = -126.4f32;
    while x < 126.9 {
        let want = (x as f64).exp2();
        near(powers.of_two([x; 4])[2], want, want * 2e-7, || format!("2^{x}"));
        let y = x * 0.69;
        let want = (y as f64).exp();
        near(powers.of_e([y; 4])[2], want, want * (2e-7 + 1e-7 * y.abs() as f64), || format!("e^{y}"));
        x += 0.001_7;
    }
    let exact = |x: f32| powers.of_two([x; 4])[2];
    assert_eq!([exact(0.0), exact(1.0), exact(-3.0)], [1.0, 2.0, 0.125]);
    assert_eq!([exact(-127.0), exact(-200.0), exact(f32::NEG_INFINITY)], [0.0; 3]);
    assert!(exact(f32::NAN).is_nan());
}

#[test]
fn norms_equal_the_definition() {
    let seed = seed(21);
    let mut random = Random(seed);
    for rows in ROWS {
        for cols in [1, 3, 8, 16, 33, 64, 576, 1000] {
            let x = matrix(&mut random, rows, cols, 3.0);
            let w = random.floats(cols, 2.0);
            let bound = |want: f64| want.abs() * (cols as f64 + 8.0) * EPS + 1e-30;
            let flat = padded(&x, cols + 2);
            let mut out = vec![f32::NAN; rows * (cols + 1)];
            let status =
                unsafe { rms_norm(out.as_mut_ptr(), cols + 1, flat.as_ptr(), cols + 2, w.as_ptr(), rows, cols, 1e-5) };
            assert_eq!(status, 0);
            let mut heads = padded(
                &x.chunks(1).map(|row| [vec![9.0; 5], row[0].repeat(2)].concat()).collect::<Vec<_>>(),
                5 + 2 * cols,
            );
            unsafe { head_norm(heads.as_mut_ptr(), 5 + 2 * cols, 5, 2, cols, w.as_ptr(), rows, 1e-5) };
            for row in 0..rows {
                let want = small::rms_norm(&x[row], &w, 1e-5);
                for col in 0..cols {
                    let context = || format!("seed {seed}, ({rows}, {cols}) at {row}, {col}");
                    near(out[row * (cols + 1) + col], want[col], bound(want[col]), context);
                    for head in 0..2 {
                        near(heads[row * (5 + 2 * cols) + 5 + head * cols + col], want[col], bound(want[col]), context);
                    }
                }
                assert_eq!(heads[row * (5 + 2 * cols)], 9.0, "columns before the heads changed");
            }
        }
    }
}

#[test]
fn rope_equals_the_definition() {
    let seed = seed(22);
    let mut random = Random(seed);
    for rows in ROWS {
        for (head_dim, turned) in [(2, 2), (8, 8), (10, 10), (16, 6), (64, 64), (128, 96), (128, 128)] {
            for pairs in [0, 1] {
                let (heads, col) = (3, 4);
                let stride = col + heads * head_dim + 1;
                let x = matrix(&mut random, rows, stride, 2.0);
                let angles: Vec<Vec<f64>> =
                    (0..rows).map(|_| (0..turned / 2).map(|_| random.float(500.0) as f64).collect()).collect();
                let table: Vec<f32> = angles
                    .iter()
                    .flat_map(|row| row.iter().map(|a| a.cos() as f32).chain(row.iter().map(|a| a.sin() as f32)))
                    .collect();
                let mut got = x.concat();
                let status = unsafe {
                    rope(got.as_mut_ptr(), stride, col, heads, head_dim, turned, pairs, table.as_ptr(), rows)
                };
                assert_eq!(status, 0);
                for row in 0..rows {
                    for head in 0..heads {
                        let from = col + head * head_dim;
                        let want = small::rope(&x[row][from..from + head_dim], &angles[row], pairs == 1);
                        for d in 0..head_dim {
                            near(got[row * stride + from + d], want[d], 4.0 * 6.0 * EPS, || {
                                format!(
                                    "seed {seed}, rows {rows}, {turned} of {head_dim}, pairs {pairs}, at {row} {head} {d}"
                                )
                            });
                        }
                    }
                    assert_eq!(got[row * stride..row * stride + col], x[row][..col]);
                    assert_eq!(got[row * stride + stride - 1], x[row][stride - 1]);
                }
            }
        }
    }
}

#[test]
fn activations_equal_their_definitions() {
    let seed = seed(23);
    let mut random = Random(seed);
    for (rows, kind) in ROWS.into_iter().flat_map(|rows| [(rows, 0), (rows, 1)]) {
        for f in [1, 3, 4, 7, 64, 1536] {
            let mut x = matrix(&mut random, rows, 2 * f, 9.0);
            x[0][0] = 1e4;
            x[rows - 1][f - 1] = -1e4;
            let flat = padded(&x, 2 * f + 3);
            let mut out = vec![f32::NAN; rows * f];
            let stride = 2 * f + 3;
            let (gate, up) = (flat.as_ptr(), flat[f..].as_ptr());
            assert_eq!(unsafe { activation(out.as_mut_ptr(), f, gate, stride, up, stride, f, rows, kind) }, 0);
            let mut inside = flat.clone();
            let at = inside.as_mut_ptr();
            unsafe { activation(at, stride, at, stride, at.add(f), stride, f, rows, kind) };
            for row in 0..rows {
                for i in 0..f {
                    let (gate, up) = (x[row][i], x[row][f + i]);
                    let want = small::activation(gate, up, kind == 1);
                    // e^y is off by 1e-7 |y| of itself, and y by some roundings: for gelu y grows with the cube of gate.
                    let power =
                        (if kind == 1 { 1.6 * (gate + 0.045 * gate.powi(3)) } else { gate }).abs().min(130.0) as f64;
                    let bound = want.abs() * (1e-6 + if kind == 1 { 6e-7 } else { 2e-7 } * power) + 1e-25;
                    let context = || format!("seed {seed}, ({rows}, {f}) at {row}, {i}: {gate}, {up}");
                    near(out[row * f + i], want, bound, context);
                    assert_eq!(inside[row * (2 * f + 3) + i].to_bits(), out[row * f + i].to_bits(), "in place");
                }
            }
        }
    }
}

#[test]
fn soft_caps_equal_the_definition() {
    let seed = seed(26);
    let mut random = Random(seed);
    for rows in ROWS {
        for (n, cap) in [(1, 30.0), (3, 0.5), (4, 50.0), (577, 30.0)] {
            let mut x = matrix(&mut random, rows, n, 3.0 * cap);
            x[0][0] = 1e30;
            x[rows - 1][n - 1] = -1e30;
            let mut got = padded(&x, n + 2);
            assert_eq!(unsafe { soft_cap(got.as_mut_ptr(), n + 2, n, rows, cap) }, 0);
            for row in 0..rows {
                for col in 0..n {
                    let want = small::soft_cap(x[row][col] as f64, cap);
                    let context = || format!("seed {seed}, ({rows}, {n}) at {row}, {col}: {}", x[row][col]);
                    near(got[row * (n + 2) + col], want, 4e-7 * cap as f64, context);
                }
                assert!(got[row * (n + 2) + n].is_nan(), "beside the row");
            }
        }
    }
}

#[test]
fn row_kernels_move_and_add_exactly() {
    let mut random = Random(24);
    for rows in ROWS {
        for cols in [1, 4, 6, 577] {
            let x = matrix(&mut random, rows, cols, 2.0);
            let flat = padded(&x, cols + 1);
            let ids: Vec<u32> = (0..rows + 3).map(|_| random.below(rows) as u32).collect();
            let mut out = vec![7.0; ids.len() * (cols + 3)];
            unsafe { gather_rows(out.as_mut_ptr(), cols + 3, flat.as_ptr(), cols + 1, ids.as_ptr(), cols, ids.len()) };
            for (row, &id) in ids.iter().enumerate() {
                assert_eq!(out[row * (cols + 3)..][..cols], x[id as usize]);
                assert_eq!(out[row * (cols + 3) + cols..][..3], [7.0; 3], "beside the row");
            }
            let bias = random.floats(cols, 1.0);
            let mut biased =
                padded(&x.iter().map(|row| [vec![1.5], row.clone()].concat()).collect::<Vec<_>>(), cols + 2);
            unsafe { add_bias(biased.as_mut_ptr(), cols + 2, 1, bias.as_ptr(), cols, rows) };
            let mut sum = x.concat();
            let other = random.floats(rows * cols, 1.0);
            unsafe { scale_add(sum.as_mut_ptr(), cols, other.as_ptr(), cols, cols, rows, 1.0, 1.0) };
            let mut scaled = x.concat();
            unsafe { scale_add(scaled.as_mut_ptr(), cols, other.as_ptr(), cols, cols, rows, 0.5, -3.0) };
            for row in 0..rows {
                assert_eq!(biased[row * (cols + 2)], 1.5);
                for col in 0..cols {
                    assert_eq!(biased[row * (cols + 2) + 1 + col], x[row][col] + bias[col]);
                    assert_eq!(sum[row * cols + col], x[row][col] + other[row * cols + col]);
                    assert_eq!(scaled[row * cols + col], x[row][col] * 0.5 + other[row * cols + col] * -3.0);
                }
            }
        }
    }
}

#[test]
fn moments_equal_the_definition_and_add_up() {
    let seed = seed(25);
    let mut random = Random(seed);
    for rows in [1, 2, 7, 127, 128, 129, 300] {
        for (x_cols, y_cols) in [(1, 1), (3, 7), (4, 8), (5, 9), (13, 33)] {
            let x = matrix(&mut random, rows, x_cols, 3.0);
            let y = matrix(&mut random, rows, y_cols, 3.0);
            let (x_flat, y_flat) = (padded(&x, x_cols + 3), padded(&y, y_cols + 1));
            let mut sums = vec![0.5f64; x_cols * y_cols];
            for _ in 0..2 {
                let status = unsafe {
                    moments(
                        sums.as_mut_ptr(),
                        x_flat.as_ptr(),
                        x_cols + 3,
                        x_cols,
                        y_flat.as_ptr(),
                        y_cols + 1,
                        y_cols,
                        rows,
                    )
                };
                assert_eq!(status, 0);
            }
            for (i, (want, size)) in small::moments(&x, &y).into_iter().enumerate() {
                // A sum of at most 128 rounded products in f32; each twice.
                let bound = 2.0 * size * (rows.min(128) as f64 + 1.0) * EPS + 1e-12;
                let error = (sums[i] - 0.5 - 2.0 * want).abs();
                assert!(error <= bound, "seed {seed}, {rows} rows, ({x_cols}, {y_cols}) at {i}: {error:e} > {bound:e}");
            }
        }
    }
}
