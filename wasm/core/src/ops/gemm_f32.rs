//! Computes out (rows, n) = x (rows, k) times a float weight (n, k) transposed, with all sums in f32 and k in order.
//!
//!     for each panel of 8 outputs: (f16 and bf16: to f32, once)
//!         for each tile of 4 rows:
//!             for each k: out (4, 8) += x (4) outer w (8)
use super::weight::{BF16, F16, F32, panel_bytes, weight_bytes};
use crate::simd::dots::PANEL;
use crate::simd::floats::Floats;

/// A unit of work is a panel.
pub struct Args {
    /// Shape (rows, n), rows `out_stride` apart.
    pub out: *mut f32,
    pub out_stride: usize,
    /// Shape (rows, k), rows `x_stride` apart.
    pub x: *const f32,
    pub x_stride: usize,
    pub w: *const u8,
    pub rows: usize,
    pub n: usize,
    pub k: usize,
    pub add: bool,
    pub kind: u32,
}

/// Returns the bytes of scratch for one panel.
pub const fn scratch_bytes(k: usize) -> u64 {
    weight_bytes(F32, PANEL, k)
}

/// # Safety
/// `args` must be as described, `scratch` as large as `scratch_bytes(k)`.
pub unsafe fn body<I: Floats>(args: &Args, lo: usize, hi: usize, scratch: *mut u8) {
    for panel in lo..hi {
        // SAFETY: as for this function.
        unsafe {
            let from = args.w.add(panel * panel_bytes(args.kind, args.k));
            let w = if args.kind == F32 { from.cast() } else { expand::<I>(scratch.cast(), from.cast(), args) };
            let whole = args.rows / 4 * 4;
            for row in (0..whole).step_by(4) {
                tile::<I, 4>(args, panel, row, w);
            }
            match args.rows - whole {
                1 => tile::<I, 1>(args, panel, whole, w),
                2 => tile::<I, 2>(args, panel, whole, w),
                3 => tile::<I, 3>(args, panel, whole, w),
                _ => {}
            }
        }
    }
}

/// # Safety
/// k * 8 elements must be readable at `from`, k * 8 floats writable at `to`.
#[inline(never)]
unsafe fn expand<I: Floats>(to: *mut f32, from: *const u16, args: &Args) -> *const f32 {
    for k in 0..args.k {
        // SAFETY: as above.
        unsafe {
            if args.kind == F16 {
                let (low, high) = I::load_f16(from.add(k * PANEL));
                I::store(to.add(k * PANEL), low);
                I::store(to.add(k * PANEL + 4), high);
            } else {
                debug_assert!(args.kind == BF16);
                for i in 0..PANEL {
                    *to.add(k * PANEL + i) = f32::from_bits((*from.add(k * PANEL + i) as u32) << 16);
                }
            }
        }
    }
    to
}

/// # Safety
/// Rows `row..row + R` must exist; `w` is panel `panel` in f32.
#[inline(never)]
unsafe fn tile<I: Floats, const R: usize>(args: &Args, panel: usize, row: usize, w: *const f32) {
    let mut out = [[I::splat(0.0); 2]; R];
    // SAFETY: as above.
    unsafe {
        let x: [*const f32; R] = core::array::from_fn(|r| args.x.add((row + r) * args.x_stride));
        for k in 0..args.k {
            let w = [I::load(w.add(k * PANEL)), I::load(w.add(k * PANEL + 4))];
            for r in 0..R {
                let x = I::splat(*x[r].add(k));
                out[r][0] = I::add(out[r][0], I::mul(x, w[0]));
                out[r][1] = I::add(out[r][1], I::mul(x, w[1]));
            }
        }
        for r in 0..R {
            put::<I>(args.out.add((row + r) * args.out_stride), panel, args.n, args.add, out[r]);
        }
    }
}

/// Writes outputs `8 * panel ..` of a row, as far as `n` reaches; adds if `add`.
///
/// # Safety
/// `n` floats must be writable at `row`.
#[inline(always)]
pub unsafe fn put<I: Floats>(row: *mut f32, panel: usize, n: usize, add: bool, values: [I::F; 2]) {
    let first = panel * PANEL;
    // SAFETY: as above; the outputs of an incomplete last panel go through a copy.
    unsafe {
        let to = row.add(first);
        if first + PANEL <= n {
            for group in 0..2 {
                let at = to.add(group * 4);
                I::store(at, if add { I::add(I::load(at), values[group]) } else { values[group] });
            }
        } else {
            let mut rest = [0f32; PANEL];
            I::store(rest.as_mut_ptr(), values[0]);
            I::store(rest.as_mut_ptr().add(4), values[1]);
            put_rest(to, n - first, add, &rest);
        }
    }
}

/// Writes the outputs of an incomplete panel. Not inlined: that would be a third of each product's code, for the last panel of few weights.
///
/// # Safety
/// `count` floats must be writable at `to`; there are at most 8.
#[inline(never)]
unsafe fn put_rest(to: *mut f32, count: usize, add: bool, values: &[f32; PANEL]) {
    for (i, value) in values.iter().enumerate().take(count) {
        // SAFETY: as above.
        unsafe { *to.add(i) = if add { *to.add(i) + value } else { *value } };
    }
}
