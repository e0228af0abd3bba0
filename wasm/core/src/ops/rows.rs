//! Operates on whole rows: gathering, adding a bias, adding scaled rows, multiplying, capping.
use super::exp::Powers;
use crate::simd::floats::Floats;

/// Computes out (units, cols) = x[ids]. A unit of work is a row of `out`.
pub struct GatherArgs {
    pub out: *mut f32,
    pub out_stride: usize,
    pub x: *const f32,
    pub x_stride: usize,
    pub ids: *const u32,
    pub cols: usize,
}

/// # Safety
/// `ids[lo..hi]` must be rows of `x`; `out` does not overlap `x`.
pub unsafe fn gather(args: &GatherArgs, lo: usize, hi: usize, _: *mut u8) {
    for row in lo..hi {
        // SAFETY: as for this function.
        unsafe {
            let from = args.x.add(*args.ids.add(row) as usize * args.x_stride);
            args.out.add(row * args.out_stride).copy_from_nonoverlapping(from, args.cols);
        }
    }
}

/// Computes x (rows, n) += y, with rows of `y` `y_stride` apart; 0 adds one row to all. A unit of work is a row.
pub struct AddArgs {
    pub x: *mut f32,
    pub x_stride: usize,
    pub y: *const f32,
    pub y_stride: usize,
    pub n: usize,
}

/// # Safety
/// Rows `lo..hi` must be as described in the arguments.
pub unsafe fn add<I: Floats>(args: &AddArgs, lo: usize, hi: usize, _: *mut u8) {
    let whole = args.n / 4 * 4;
    for row in lo..hi {
        // SAFETY: as for this function.
        unsafe {
            let x = args.x.add(row * args.x_stride);
            let y = args.y.add(row * args.y_stride);
            for i in (0..whole).step_by(4) {
                I::store(x.add(i), I::add(I::load(x.add(i)), I::load(y.add(i))));
            }
            for i in whole..args.n {
                *x.add(i) += *y.add(i);
            }
        }
    }
}

/// Computes x (rows, n) *= y. A unit of work is a row.
///
/// # Safety
/// Rows `lo..hi` must be as described in the arguments.
pub unsafe fn multiply<I: Floats>(args: &AddArgs, lo: usize, hi: usize, _: *mut u8) {
    let whole = args.n / 4 * 4;
    for row in lo..hi {
        // SAFETY: as for this function.
        unsafe {
            let x = args.x.add(row * args.x_stride);
            let y = args.y.add(row * args.y_stride);
            for i in (0..whole).step_by(4) {
                I::store(x.add(i), I::mul(I::load(x.add(i)), I::load(y.add(i))));
            }
            for i in whole..args.n {
                *x.add(i) *= *y.add(i);
            }
        }
    }
}

/// Computes out (rows, n) = keep * out + scale * x. A unit of work is a row; `x` may be `out`.
pub struct ScaleAddArgs {
    pub out: *mut f32,
    pub out_stride: usize,
    pub x: *const f32,
    pub x_stride: usize,
    pub n: usize,
    pub keep: f32,
    pub scale: f32,
}

/// # Safety
/// Rows `lo..hi` must be as described in the arguments.
pub unsafe fn scale_add<I: Floats>(args: &ScaleAddArgs, lo: usize, hi: usize, _: *mut u8) {
    let whole = args.n / 4 * 4;
    let (keep, scale) = (I::splat(args.keep), I::splat(args.scale));
    for row in lo..hi {
        // SAFETY: as for this function.
        unsafe {
            let out = args.out.add(row * args.out_stride);
            let x = args.x.add(row * args.x_stride);
            for i in (0..whole).step_by(4) {
                I::store(out.add(i), I::add(I::mul(I::load(out.add(i)), keep), I::mul(I::load(x.add(i)), scale)));
            }
            for i in whole..args.n {
                *out.add(i) = *out.add(i) * args.keep + *x.add(i) * args.scale;
            }
        }
    }
}

/// Computes x (rows, n) = cap * tanh(x / cap). A unit of work is a row.
pub struct SoftCapArgs {
    pub x: *mut f32,
    pub x_stride: usize,
    pub n: usize,
    pub cap: f32,
}

/// # Safety
/// Rows `lo..hi` must be as described in the arguments.
pub unsafe fn soft_cap<I: Floats>(args: &SoftCapArgs, lo: usize, hi: usize, _: *mut u8) {
    for row in lo..hi {
        // SAFETY: as for this function.
        unsafe { cap_run::<I>(args.x.add(row * args.x_stride), args.n, args.cap) }
    }
}

/// Caps `n` values from `x` on.
///
/// # Safety
/// They must be there.
#[inline(never)]
pub unsafe fn cap_run<I: Floats>(x: *mut f32, n: usize, cap: f32) {
    let powers = Powers::<I>::load();
    let (cap, twice_inverse) = (I::splat(cap), I::splat(2.0 / cap));
    let whole = n / 4 * 4;
    // SAFETY: as for this function; the last values go through a padded copy.
    unsafe {
        for i in (0..whole).step_by(4) {
            I::store(x.add(i), powers.soft_cap(I::load(x.add(i)), cap, twice_inverse));
        }
        if whole < n {
            let mut pad = [0f32; 4];
            pad.as_mut_ptr().copy_from(x.add(whole), n - whole);
            I::store(pad.as_mut_ptr(), powers.soft_cap(I::load(pad.as_ptr()), cap, twice_inverse));
            x.add(whole).copy_from(pad.as_ptr(), n - whole);
        }
    }
}
