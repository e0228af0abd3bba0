//! Applies rotary position embedding in place, with each token's own angles.
use crate::simd::floats::Floats;

/// A unit of work is a row.
pub struct Args {
    /// Head 0 of row 0; heads are adjacent, rows `x_stride` apart.
    pub x: *mut f32,
    pub x_stride: usize,
    pub heads: usize,
    pub head_dim: usize,
    /// Elements of a head that turn, from the first on: an even number.
    pub turned: usize,
    /// Rotates pairs (2i, 2i + 1), otherwise (i, i + turned / 2).
    pub adjacent: bool,
    /// Shape (rows, 2, turned / 2): cosines, then sines.
    pub table: *const f32,
}

/// # Safety
/// Rows `lo..hi` of `x` and the table must be as described.
pub unsafe fn body<I: Floats>(args: &Args, lo: usize, hi: usize, _: *mut u8) {
    let half = args.turned / 2;
    for row in lo..hi {
        for head in 0..args.heads {
            // SAFETY: as for this function.
            unsafe {
                let x = args.x.add(row * args.x_stride + head * args.head_dim);
                let cos = args.table.add(row * args.turned);
                if args.adjacent {
                    adjacent::<I>(x, cos, cos.add(half), half);
                } else {
                    halves::<I>(x, cos, cos.add(half), half);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn halves<I: Floats>(x: *mut f32, cos: *const f32, sin: *const f32, half: usize) {
    let whole = half / 4 * 4;
    // SAFETY: all accesses are below 2 * half, or half in the tables.
    unsafe {
        for i in (0..whole).step_by(4) {
            let (c, s) = (I::load(cos.add(i)), I::load(sin.add(i)));
            let (a, b) = (I::load(x.add(i)), I::load(x.add(half + i)));
            I::store(x.add(i), I::sub(I::mul(a, c), I::mul(b, s)));
            I::store(x.add(half + i), I::add(I::mul(a, s), I::mul(b, c)));
        }
        for i in whole..half {
            rotate(x.add(i), x.add(half + i), *cos.add(i), *sin.add(i));
        }
    }
}

#[inline(always)]
unsafe fn adjacent<I: Floats>(x: *mut f32, cos: *const f32, sin: *const f32, half: usize) {
    let whole = half / 4 * 4;
    // SAFETY: as above.
    unsafe {
        for i in (0..whole).step_by(4) {
            let (c, s) = (I::load(cos.add(i)), I::load(sin.add(i)));
            let (a, b) = I::unzip(I::load(x.add(2 * i)), I::load(x.add(2 * i + 4)));
            let (low, high) = I::zip(I::sub(I::mul(a, c), I::mul(b, s)), I::add(I::mul(a, s), I::mul(b, c)));
            I::store(x.add(2 * i), low);
            I::store(x.add(2 * i + 4), high);
        }
        for i in whole..half {
            rotate(x.add(2 * i), x.add(2 * i + 1), *cos.add(i), *sin.add(i));
        }
    }
}

unsafe fn rotate(first: *mut f32, second: *mut f32, cos: f32, sin: f32) {
    // SAFETY: the caller's pair.
    unsafe {
        let (a, b) = (*first, *second);
        *first = a * cos - b * sin;
        *second = a * sin + b * cos;
    }
}
