//! Computes out = act(gate) * up, where act is silu or gelu.
use super::exp::Powers;
use crate::simd::floats::Floats;

/// A unit of work is a row; `out` may be `gate` or `up`.
pub struct Args {
    /// Shape (rows, f), rows `out_stride` apart; the same for gate and up.
    pub out: *mut f32,
    pub out_stride: usize,
    pub gate: *const f32,
    pub gate_stride: usize,
    pub up: *const f32,
    pub up_stride: usize,
    pub f: usize,
    /// Selects gelu by its tanh approximation; otherwise silu.
    pub gelu: bool,
}

/// # Safety
/// Rows `lo..hi` must be as described in the arguments.
pub unsafe fn body<I: Floats>(args: &Args, lo: usize, hi: usize, _: *mut u8) {
    let powers = Powers::<I>::load();
    // SAFETY: as for this function.
    unsafe {
        if args.gelu {
            rows::<I>(args, lo, hi, |gate| powers.gelu(gate))
        } else {
            rows::<I>(args, lo, hi, |gate| powers.silu(gate))
        }
    }
}

#[inline(always)]
unsafe fn rows<I: Floats>(args: &Args, lo: usize, hi: usize, act: impl Fn(I::F) -> I::F) {
    let f = args.f;
    let whole = f / 4 * 4;
    let four = |gate, up| I::mul(act(gate), up);
    for row in lo..hi {
        // SAFETY: as for `body`; the last elements of a row go through a padded copy.
        unsafe {
            let gate = args.gate.add(row * args.gate_stride);
            let up = args.up.add(row * args.up_stride);
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
