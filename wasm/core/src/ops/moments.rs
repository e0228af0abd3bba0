//! Computes sums (x_cols, y_cols) += x transposed times y, the data of a least-squares fit.
//!
//!     for each 8 columns of y:
//!         for each 128 rows: copy those columns side by side
//!             for each 4 columns of x: out (4, 8) = sum over rows of x (4) outer y (8), in f32
//!                 sums += out, in f64
//!
//! A sum of a million rows would lose small terms in f32: only 128 products are added in f32, and the rest in f64.
use crate::simd::floats::Floats;

/// Number of columns of y in a unit.
pub const TILE: usize = 8;
/// Number of rows added in f32.
const BLOCK: usize = 128;

/// A unit of work is `TILE` columns of y.
pub struct Args {
    /// Shape (x_cols, y_cols).
    pub sums: *mut f64,
    /// Shape (rows, x_cols), rows `x_stride` apart.
    pub x: *const f32,
    pub x_stride: usize,
    pub x_cols: usize,
    /// Shape (rows, y_cols), rows `y_stride` apart.
    pub y: *const f32,
    pub y_stride: usize,
    pub y_cols: usize,
    pub rows: usize,
}

/// # Safety
/// `args` must be as described; `sums` overlaps neither `x` nor `y`.
pub unsafe fn body<I: Floats>(args: &Args, lo: usize, hi: usize, _: *mut u8) {
    let mut packed = [0f32; BLOCK * TILE];
    for unit in lo..hi {
        let col = unit * TILE;
        let cols = (args.y_cols - col).min(TILE);
        for row in (0..args.rows).step_by(BLOCK) {
            let rows = (args.rows - row).min(BLOCK);
            for r in 0..rows {
                for c in 0..cols {
                    // SAFETY: row + r < rows, col + c < y_cols.
                    packed[r * TILE + c] = unsafe { *args.y.add((row + r) * args.y_stride + col + c) };
                }
            }
            let mut at = 0;
            while at + 4 <= args.x_cols {
                // SAFETY: x has 4 columns from `at` on.
                unsafe { tile::<I, 4>(args, row, rows, at, col, cols, &packed) };
                at += 4;
            }
            while at < args.x_cols {
                // SAFETY: as above, one column.
                unsafe { tile::<I, 1>(args, row, rows, at, col, cols, &packed) };
                at += 1;
            }
        }
    }
}

/// # Safety
/// Rows `row..row + rows` and columns `at..at + R` of x, and `col..col + cols` of sums, must exist.
#[inline(never)]
unsafe fn tile<I: Floats, const R: usize>(
    args: &Args,
    row: usize,
    rows: usize,
    at: usize,
    col: usize,
    cols: usize,
    packed: &[f32; BLOCK * TILE],
) {
    let mut out = [[I::splat(0.0); 2]; R];
    // SAFETY: as above; `packed` holds `rows` rows.
    unsafe {
        for r in 0..rows {
            let x = args.x.add((row + r) * args.x_stride + at);
            let y = packed.as_ptr().add(r * TILE);
            let y = [I::load(y), I::load(y.add(4))];
            for i in 0..R {
                let x = I::splat(*x.add(i));
                out[i][0] = I::add(out[i][0], I::mul(x, y[0]));
                out[i][1] = I::add(out[i][1], I::mul(x, y[1]));
            }
        }
        for i in 0..R {
            let mut sums = [0f32; TILE];
            I::store(sums.as_mut_ptr(), out[i][0]);
            I::store(sums.as_mut_ptr().add(4), out[i][1]);
            let to = args.sums.add((at + i) * args.y_cols + col);
            for c in 0..cols {
                *to.add(c) += sums[c] as f64;
            }
        }
    }
}
