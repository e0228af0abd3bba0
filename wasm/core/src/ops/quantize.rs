//! Quantises f32 activations to int8, one scale per 32:
//!
//!     s = max |x| / 127;  q = round(x / s);  sum = s * (sum of q)
//!
//! Rows are stored in groups of 4, the last possibly smaller: a group of R rows interleaves 4 k of each row, so that a tile of the
//! group reads one stream. The values of a row do not depend on the rows beside it, only their places do.
use crate::simd::dots::{BLOCK, Dots};
use crate::simd::floats::Floats;

/// Number of rows in a group.
pub const GROUP: usize = 4;

/// A unit of work is a group of rows.
pub struct Args {
    /// Shape (groups; k / 4, rows of the group, 4): a group of R rows in R k bytes.
    pub q: *mut i8,
    /// Shape (groups; k / 32, rows of the group).
    pub s: *mut f32,
    /// Shape (groups; k / 32, rows of the group).
    pub sums: *mut f32,
    /// Shape (rows, k), rows `x_stride` apart.
    pub x: *const f32,
    pub x_stride: usize,
    pub rows: usize,
    pub k: usize,
}

/// # Safety
/// Groups `lo..hi` must be as described; k is a multiple of 32.
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
/// Rows `first..first + R`, a group, must be as described.
#[inline(always)]
unsafe fn rows<D: Dots, const R: usize>(args: &Args, first: usize) {
    let blocks = args.k / BLOCK;
    // SAFETY: as above.
    unsafe {
        let x: [*const f32; R] = core::array::from_fn(|r| args.x.add((first + r) * args.x_stride));
        for block in 0..blocks {
            let at = first * blocks + block * R;
            let to = Block { q: args.q.add(at * BLOCK), s: args.s.add(at), sums: args.sums.add(at) };
            let x = x.map(|x| x.add(block * BLOCK));
            if R == GROUP { four::<D>(&to, core::array::from_fn(|r| x[r % R])) } else { few::<D, R>(&to, x) }
        }
    }
}

/// Destination of a block of a group.
struct Block {
    q: *mut i8,
    s: *mut f32,
    sums: *mut f32,
}

/// Quantises a block of each of 4 rows; values with one number per row have a row per lane.
///
/// # Safety
/// 32 floats must be readable at each of `x`; the block must be writable.
#[inline(always)]
unsafe fn four<D: Dots>(to: &Block, x: [*const f32; 4]) {
    let mut bytes = [[0i8; BLOCK]; 4];
    let mut most = [0f32; 4];
    let mut inverse = [0f32; 4];
    // SAFETY: as above.
    unsafe {
        let largest = across::<D::Float>(x.map(|x| largest::<D::Float>(x)));
        D::Float::store(most.as_mut_ptr(), largest);
        D::Float::store(inverse.as_mut_ptr(), D::Float::div(D::Float::splat(127.0), largest));
        let scale = D::Float::div(largest, D::Float::splat(127.0));
        let mut parts = [D::zero(); 4];
        for r in 0..4 {
            let inverse = if most[r] > 0.0 { inverse[r] } else { 0.0 };
            parts[r] = D::quantize(bytes[r].as_mut_ptr(), x[r], inverse);
        }
        let [a, b, c, d] = D::transpose(parts);
        let sum = D::float(D::add_sums(D::add_sums(a, b), D::add_sums(c, d)));
        D::Float::store(to.s, scale);
        D::Float::store(to.sums, D::Float::mul(scale, sum));
        for half in 0..2 {
            let runs: [_; 4] = core::array::from_fn(|r| D::load_sums(bytes[r].as_ptr().add(half * 16).cast()));
            for (i, column) in D::transpose(runs).into_iter().enumerate() {
                D::store_sums(to.q.add(half * 64 + i * 16).cast(), column);
            }
        }
    }
}

/// Quantises a block of each of R rows, one after the other.
///
/// # Safety
/// As `four`.
#[inline(always)]
unsafe fn few<D: Dots, const R: usize>(to: &Block, x: [*const f32; R]) {
    // SAFETY: as above.
    unsafe {
        for r in 0..R {
            let most = D::Float::largest(largest::<D::Float>(x[r]));
            let scale = most / 127.0;
            let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
            let mut bytes = [0i8; BLOCK];
            // A single row is not interleaved.
            let into = if R == 1 { to.q } else { bytes.as_mut_ptr() };
            let sum = D::Float::total(D::float(D::quantize(into, x[r], inverse)));
            *to.s.add(r) = scale;
            *to.sums.add(r) = scale * sum;
            if R > 1 {
                for step in 0..8 {
                    let four = bytes.as_ptr().add(step * 4).cast::<u32>().read_unaligned();
                    to.q.add((step * R + r) * 4).cast::<u32>().write_unaligned(four);
                }
            }
        }
    }
}

/// Returns the largest magnitudes of 32 floats, in four parts.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn largest<F: Floats>(x: *const f32) -> F::F {
    let mut most = [F::splat(0.0); 2];
    for i in 0..8 {
        // SAFETY: as above.
        most[i % 2] = F::pmax(most[i % 2], F::abs(unsafe { F::load(x.add(4 * i)) }));
    }
    F::pmax(most[0], most[1])
}

/// Returns the maximum over the parts of each row, a row per lane.
#[inline(always)]
fn across<F: Floats>([a, b, c, d]: [F::F; 4]) -> F::F {
    let ((low, high), (low_2, high_2)) = (F::zip(a, c), F::zip(b, d));
    let ((first, second), (third, fourth)) = (F::zip(low, low_2), F::zip(high, high_2));
    F::pmax(F::pmax(first, second), F::pmax(third, fourth))
}
