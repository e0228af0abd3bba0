//! Computes the RMS norm of rows, and of the heads inside rows.
use crate::simd::floats::Floats;

/// Computes out = x / rms(x) * w. A unit of work is a row; `out` may be `x`.
pub struct NormArgs {
    /// Shape (rows, cols), rows `out_stride` apart.
    pub out: *mut f32,
    pub out_stride: usize,
    pub x: *const f32,
    pub x_stride: usize,
    /// Shape (cols).
    pub w: *const f32,
    pub cols: usize,
    pub eps: f32,
}

/// # Safety
/// Rows `lo..hi` and `w` must be as described in the arguments.
pub unsafe fn rms_norm<I: Floats>(args: &NormArgs, lo: usize, hi: usize, _: *mut u8) {
    for row in lo..hi {
        // SAFETY: as for this function.
        unsafe {
            let x = args.x.add(row * args.x_stride);
            normalise::<I>(args.out.add(row * args.out_stride), x, args.w, args.cols, args.eps);
        }
    }
}

/// Computes x = x / rms(x) * w for each of `heads` runs of `head_dim` columns from `x` on. A unit of work is a row.
pub struct HeadNormArgs {
    pub x: *mut f32,
    pub x_stride: usize,
    pub heads: usize,
    pub head_dim: usize,
    /// Shape (head_dim).
    pub w: *const f32,
    pub eps: f32,
}

/// # Safety
/// Rows `lo..hi` and `w` must be as described in the arguments.
pub unsafe fn head_norm<I: Floats>(args: &HeadNormArgs, lo: usize, hi: usize, _: *mut u8) {
    for row in lo..hi {
        for head in 0..args.heads {
            // SAFETY: as for this function.
            unsafe {
                let x = args.x.add(row * args.x_stride + head * args.head_dim);
                normalise::<I>(x, x, args.w, args.head_dim, args.eps);
            }
        }
    }
}

#[inline(always)]
unsafe fn normalise<I: Floats>(out: *mut f32, x: *const f32, w: *const f32, cols: usize, eps: f32) {
    let whole = cols / 16 * 16;
    // SAFETY: all accesses are below `cols`.
    unsafe {
        let mut sums = [I::splat(0.0); 4];
        for i in (0..whole).step_by(16) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                let value = I::load(x.add(i + 4 * lane));
                *sum = I::add(*sum, I::mul(value, value));
            }
        }
        let mut total = I::total(I::add(I::add(sums[0], sums[1]), I::add(sums[2], sums[3])));
        for i in whole..cols {
            total += *x.add(i) * *x.add(i);
        }
        let inverse = 1.0 / I::root(total / cols as f32 + eps);
        for i in (0..whole).step_by(4) {
            let scaled = I::mul(I::load(x.add(i)), I::splat(inverse));
            I::store(out.add(i), I::mul(scaled, I::load(w.add(i))));
        }
        for i in whole..cols {
            *out.add(i) = *x.add(i) * inverse * *w.add(i);
        }
    }
}
