//! out = silu(gate) * up.
use super::exp::Powers;
use crate::simd::floats::Floats;

/// Row r of `x` is gate (f), then up (f). A unit is a row; `out` may be `x`.
pub struct Args {
    /// (rows, f), `out_stride` apart.
    pub out: *mut f32,
    pub out_stride: usize,
    pub x: *const f32,
    pub x_stride: usize,
    pub f: usize,
}

/// # Safety
/// Rows `lo..hi` are as described.
pub unsafe fn body<I: Floats>(args: &Args, lo: usize, hi: usize, _: *mut u8) {
    let f = args.f;
    let whole = f / 4 * 4;
    let powers = Powers::<I>::load();
    let four = |gate, up| I::mul(powers.silu(gate), up);
    for row in lo..hi {
        // SAFETY: as for this function; the rest of a row goes through a padded copy.
        unsafe {
            let gate = args.x.add(row * args.x_stride);
            let up = gate.add(f);
            let out = args.out.add(row * args.out_stride);
            for i in (0..whole).step_by(4) {
                I::store(out.add(i), four(I::load(gate.add(i)), I::load(up.add(i))));
            }
            if whole < f {
                let mut pad = [0f32; 12];
                pad.as_mut_ptr().copy_from(gate.add(whole), f - whole);
                pad.as_mut_ptr().add(4).copy_from(up.add(whole), f - whole);
                I::store(pad.as_mut_ptr().add(8), four(I::load(pad.as_ptr()), I::load(pad.as_ptr().add(4))));
                out.add(whole).copy_from(pad.as_ptr().add(8), f - whole);
            }
        }
    }
}
