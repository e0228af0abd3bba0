//! The best values of rows, and their sum of exp, against sorting and f64.
mod common;
use common::{EPS, Random, seed};
use foretoken_core::best_of_rows;
use foretoken_core::naive::small;

/// Entries and sums, by row.
fn found(x: &[f32], stride: usize, rows: usize, cols: usize, count: usize) -> Vec<(Vec<(f32, usize)>, f64)> {
    let mut out = vec![u64::MAX; rows * (1 + count) + 1];
    assert_eq!(unsafe { best_of_rows(out.as_mut_ptr().cast(), x.as_ptr(), stride, cols, count, rows) }, 0);
    assert_eq!(out.pop(), Some(u64::MAX), "behind the last row");
    let entry = |word: &u64| (f32::from_bits(*word as u32), (word >> 32) as usize);
    out.chunks(1 + count).map(|row| (row[1..].iter().map(entry).collect(), f64::from_bits(row[0]))).collect()
}

/// Returns a bound of a sum of exp: of each term 2e-7, 1e-7 for each unit of its power, and the rounding of that power; ten f32 additions;
/// and terms below 2^-127, which count as 0.
fn bound(x: &[f32], top: f32) -> f64 {
    let term = |&x: &f32| {
        let power = x as f64 - top as f64;
        if power < -88.0 { 1e-38 } else { power.exp() * (2e-7 - (1e-7 + EPS) * power + 10.0 * EPS) }
    };
    1e-15 + x.iter().map(term).sum::<f64>()
}

#[test]
fn best_values_and_sums_equal_the_definition() {
    let seed = seed(26);
    let mut random = Random(seed);
    for cols in [1, 2, 3, 4, 15, 16, 17, 63, 64, 65, 130, 1000, 4099] {
        for count in [1, 2, 5, 20, 64, 128].into_iter().filter(|&count| count <= cols) {
            for kind in 0..6 {
                let (rows, stride) = (1 + random.below(4), cols + random.below(5));
                let mut x = random.floats(rows * stride, 12.0);
                match kind {
                    // Many equal values; ascending, where every value enters the list; constant; far apart; -Infinity among them.
                    1 => x.iter_mut().for_each(|x| *x = (*x / 4.0).round()),
                    2 => (0..rows).for_each(|row| x[row * stride..][..cols].sort_by(f32::total_cmp)),
                    3 => x.fill(-7.25),
                    4 => x.iter_mut().for_each(|x| *x *= 1e4),
                    5 => x.iter_mut().for_each(|x| *x = if *x < 3.0 { f32::NEG_INFINITY } else { *x }),
                    _ => {}
                }
                // A row needs one number at least.
                (0..rows).for_each(|row| x[row * stride + cols - 1] = x[row * stride + cols - 1].max(-3.0));
                let got = found(&x, stride, rows, cols, count);
                for (row, (entries, sum)) in got.into_iter().enumerate() {
                    let own = &x[row * stride..][..cols];
                    let (want, total) = small::best(own, count);
                    let what = format!("seed {seed}, kind {kind}, {count} of {cols}, row {row}");
                    assert_eq!(entries, want, "{what}");
                    let (error, bound) = ((sum - total).abs(), bound(own, want[0].0));
                    assert!(error <= bound, "{what}: {sum}, want {total}, error {error:e} > {bound:e}");
                    assert!(bound <= total * 1e-5 + 1e-30, "{what}: the bound is {bound}");
                }
            }
        }
    }
}

#[test]
fn a_sum_depends_neither_on_the_list_nor_on_other_rows() {
    let mut random = Random(seed(27));
    let (rows, cols) = (5, 777);
    let x = random.floats(rows * cols, 9.0);
    let packed: Vec<_> = found(&x, cols, rows, cols, 1).into_iter().map(|(_, sum)| sum.to_bits()).collect();
    for row in 0..rows {
        for count in [1, 3, 100] {
            let alone = found(&x[row * cols..], cols, 1, cols, count);
            assert_eq!(alone[0].1.to_bits(), packed[row]);
        }
    }
}

#[test]
fn what_is_no_number_makes_the_sum_nan() {
    let mut random = Random(seed(28));
    for cols in [1, 7, 64, 300] {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY] {
            for at in 0..cols {
                let mut x = random.floats(2 * cols, 5.0);
                x[cols + at] = bad;
                let got = found(&x, cols, 2, cols, cols.min(3));
                assert!(got[0].1.is_finite() && got[1].1.is_nan(), "{bad} at {at} of {cols}");
            }
        }
        assert!(found(&vec![f32::NEG_INFINITY; cols], cols, 1, cols, 1)[0].1.is_nan());
    }
}
