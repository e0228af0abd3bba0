//! f32 activations to int8, one scale per 32:
//!
//!     s = max |x| / 127;  q = round(x / s);  sum = s * (sum of q)
//!
//! Rows lie in groups of 4, the last group may have fewer: of a group of R rows, 4 k of each row beside each other, so that a tile of the
//! group reads one stream. What a row becomes does not depend on the rows beside it, only where it lies.
use crate::simd::dots::{BLOCK, Dots};
use crate::simd::floats::Floats;

/// Rows in a group.
pub const GROUP: usize = 4;

/// A unit is a group of rows.
pub struct Args {
    /// (groups; k / 4, rows of the group, 4), a group of R rows in R k bytes
    pub q: *mut i8,
    /// (groups; k / 32, rows of the group)
    pub s: *mut f32,
    /// (groups; k / 32, rows of the group)
    pub sums: *mut f32,
    /// (rows, k), `x_stride` apart
    pub x: *const f32,
    pub x_stride: usize,
    pub rows: usize,
    pub k: usize,
}

/// # Safety
/// Groups `lo..hi` are as described; k is a multiple of 32.
pub unsafe fn body<D: Dots>(args: &Args, lo: usize, hi: usize, _: *mut u8) {
    for group in lo..hi {
        let row = group * GROUP;
        // SAFETY: as for this function.
        unsafe {
            match args.rows - row {
                1 => rows::<D, 1>(args, row),
                2 => rows::<D, 2>(args, row),
                3 => rows::<D, 3>(args, row),
                _ => rows::<D, 4>(args, row),
            }
        }
    }
}

/// # Safety
/// Rows `first..first + R`, a group, are as described.
#[inline(always)]
unsafe fn rows<D: Dots, const R: usize>(args: &Args, first: usize) {
    let blocks = args.k / BLOCK;
    let mut bytes = [[0i8; BLOCK]; R];
    // SAFETY: as above.
    unsafe {
        let x: [*const f32; R] = core::array::from_fn(|r| args.x.add((first + r) * args.x_stride));
        for block in 0..blocks {
            let at = first * blocks + block * R;
            let x = x.map(|x| x.add(block * BLOCK));
            let mut most = [0f32; GROUP];
            let mut inverse = [0f32; GROUP];
            let largest = across::<D::Float, R>(x.map(|x| largest::<D::Float>(x)));
            D::Float::store(most.as_mut_ptr(), largest);
            D::Float::store(inverse.as_mut_ptr(), D::Float::div(D::Float::splat(127.0), largest));
            let scale = D::Float::div(largest, D::Float::splat(127.0));
            let mut parts = [D::zero(); GROUP];
            for r in 0..R {
                let inverse = if most[r] > 0.0 { inverse[r] } else { 0.0 };
                parts[r] = D::quantize(bytes[r].as_mut_ptr(), x[r], inverse);
            }
            let [a, b, c, d] = D::transpose(parts);
            let sum = D::float(D::add_sums(D::add_sums(a, b), D::add_sums(c, d)));
            put::<D::Float, R>(args.s.add(at), scale);
            put::<D::Float, R>(args.sums.add(at), D::Float::mul(scale, sum));
            interleave::<D, R>(args.q.add(at * BLOCK), &bytes);
        }
    }
}

/// The largest sizes of 32 floats, in four parts.
///
/// # Safety
/// They are readable.
#[inline(always)]
unsafe fn largest<F: Floats>(x: *const f32) -> F::F {
    let mut most = [F::splat(0.0); 2];
    for i in 0..8 {
        // SAFETY: as above.
        most[i % 2] = F::pmax(most[i % 2], F::abs(unsafe { F::load(x.add(4 * i)) }));
    }
    F::pmax(most[0], most[1])
}

/// The largest of the parts of each row, a row to a lane; 0 for rows that are not there.
#[inline(always)]
fn across<F: Floats, const R: usize>(rows: [F::F; R]) -> F::F {
    let [a, b, c, d] = core::array::from_fn(|r| if r < R { rows[r] } else { F::splat(0.0) });
    let ((low, high), (low_2, high_2)) = (F::zip(a, c), F::zip(b, d));
    let ((first, second), (third, fourth)) = (F::zip(low, low_2), F::zip(high, high_2));
    F::pmax(F::pmax(first, second), F::pmax(third, fourth))
}

/// Writes the first R lanes.
///
/// # Safety
/// R floats are writable at `to`.
#[inline(always)]
unsafe fn put<F: Floats, const R: usize>(to: *mut f32, values: F::F) {
    // SAFETY: as above.
    unsafe {
        if R == 4 {
            return F::store(to, values);
        }
        let mut all = [0f32; 4];
        F::store(all.as_mut_ptr(), values);
        to.copy_from_nonoverlapping(all.as_ptr(), R);
    }
}

/// (R, 32) to (8, R, 4).
///
/// # Safety
/// 32 R bytes are writable at `to`.
#[inline(always)]
unsafe fn interleave<D: Dots, const R: usize>(to: *mut i8, rows: &[[i8; BLOCK]; R]) {
    // SAFETY: as above.
    unsafe {
        if R != 4 {
            for (r, row) in rows.iter().enumerate() {
                for step in 0..8 {
                    let four = row.as_ptr().add(step * 4).cast::<u32>().read_unaligned();
                    to.add((step * R + r) * 4).cast::<u32>().write_unaligned(four);
                }
            }
            return;
        }
        for half in 0..2 {
            let [a, b, c, d]: [_; 4] = core::array::from_fn(|r| D::load_sums(rows[r].as_ptr().add(half * 16).cast()));
            for (i, column) in D::transpose([a, b, c, d]).into_iter().enumerate() {
                D::store_sums(to.add(half * 64 + i * 16).cast(), column);
            }
        }
    }
}
