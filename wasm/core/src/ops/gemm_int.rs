//! out (rows, n) = x (rows, k) times a quantised weight (n, k) transposed, x in int8.
//!
//!     for each panel of 8 outputs:
//!         expand the panel once: weights to what `Dots` wants, scales to f32
//!         for each tile of 4 rows:
//!             for each block of 32 k:
//!                 int sums (4, 8) = activations . weights
//!                 out (4, 8)     += float(sums) * (d * s) + m * (sum of activations)
//!
//! Expanding, tiles and single rows are functions of their own: engines compile hot functions well only after some calls,
//! and one at a time, so that small ones that are called often get fast within the first prompt.
//!
//! One row alone reads the weights without expanding them, since then memory is the limit. The order of the float
//! additions is the same in every path: a row's bits do not depend on what shares the pass.
use super::weight::{I8, I8M, I8S, U4, block_bytes, head_bytes, panel_bytes};
use crate::pool::Body;
use crate::simd::dots::{BLOCK, Dots};
use crate::simd::floats::Floats;

type Lanes<D> = <<D as Dots>::Float as Floats>::F;

/// A unit is a panel.
pub struct Args {
    /// (rows, n), `out_stride` apart
    pub out: *mut f32,
    pub out_stride: usize,
    /// (rows, k)
    pub q: *const i8,
    /// (rows, k / 32)
    pub s: *const f32,
    /// (rows, k / 32)
    pub sums: *const f32,
    pub w: *const u8,
    pub rows: usize,
    pub n: usize,
    pub k: usize,
    /// Add to `out` instead of writing it.
    pub add: bool,
}

/// Bytes before an expanded block's weights: f32 d[8], f32 m[8] (or the second half's d), i32 first sums[2][8].
const HEAD: usize = 128;

/// Scratch for one panel.
pub const fn scratch_bytes(k: usize) -> u64 {
    k.div_ceil(BLOCK) as u64 * (HEAD + 512) as u64
}

/// The body for u4 weights on an engine with this `lowering` of the relaxed dot: where it is one instruction, that.
pub fn u4_body(lowering: u32) -> Body<Args> {
    #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
    return if lowering == 0 { body::<crate::simd::dots::Narrow, U4> } else { body::<crate::simd::dots::Relaxed, U4> };
    #[cfg(all(target_arch = "wasm32", not(target_feature = "relaxed-simd")))]
    return {
        let _ = lowering;
        body::<crate::simd::dots::Wide, U4>
    };
    #[cfg(not(target_arch = "wasm32"))]
    {
        let _ = lowering;
        body::<crate::simd::floats::Scalar, U4>
    }
}

/// The body for int8 weights of `kind` on an engine with this `lowering` of the relaxed dot.
pub fn i8_body(kind: u32, lowering: u32) -> Body<Args> {
    #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
    match lowering {
        1 => return of_kind::<crate::simd::dots::Unsigned>(kind),
        2 => return of_kind::<crate::simd::dots::Signed>(kind),
        _ => {}
    }
    let _ = lowering;
    #[cfg(target_arch = "wasm32")]
    return of_kind::<crate::simd::dots::Wide>(kind);
    #[cfg(not(target_arch = "wasm32"))]
    of_kind::<crate::simd::floats::Scalar>(kind)
}

fn of_kind<D: Dots>(kind: u32) -> Body<Args> {
    match kind {
        I8S => body::<D, I8S>,
        I8M => body::<D, I8M>,
        _ => body::<D, I8>,
    }
}

/// # Safety
/// `args` is as described, k a multiple of 32, `scratch` as large as `scratch_bytes(k)`.
pub unsafe fn body<D: Dots, const KIND: u32>(args: &Args, lo: usize, hi: usize, scratch: *mut u8) {
    let with = D::constants();
    for panel in lo..hi {
        // SAFETY: as for this function.
        unsafe {
            let w = args.w.add(panel * panel_bytes(KIND, args.k));
            if KIND != I8S && args.rows == 1 {
                one_row::<D, KIND>(with, args, panel, w);
                continue;
            }
            expand::<D, KIND>(with, scratch, w, args.k / BLOCK);
            let whole = args.rows / 4 * 4;
            for row in (0..whole).step_by(4) {
                tile::<D, KIND, 4>(args, panel, row, scratch);
            }
            match args.rows - whole {
                1 => tile::<D, KIND, 1>(args, panel, whole, scratch),
                2 => tile::<D, KIND, 2>(args, panel, whole, scratch),
                3 => tile::<D, KIND, 3>(args, panel, whole, scratch),
                _ => {}
            }
        }
    }
}

/// # Safety
/// `w` is a panel of `blocks` blocks, `to` large enough.
#[inline(never)]
unsafe fn expand<D: Dots, const KIND: u32>(with: D::Constants, to: *mut u8, w: *const u8, blocks: usize) {
    for block in 0..blocks {
        // SAFETY: as above.
        unsafe {
            let from = w.add(block * block_bytes(KIND));
            let to = to.add(block * (HEAD + D::EXPANDED));
            floats_of::<D, KIND>(with, to.cast(), from);
            let weights = from.add(head_bytes(KIND));
            if KIND == U4 {
                D::expand_u4(with, to.add(HEAD), weights);
            } else {
                D::expand_i8(to.add(HEAD), weights, to.add(64).cast());
            }
        }
    }
}

/// R rows from `row` on, 8 outputs.
///
/// # Safety
/// The rows are there; `expanded` is this panel.
#[inline(never)]
unsafe fn tile<D: Dots, const KIND: u32, const R: usize>(args: &Args, panel: usize, row: usize, expanded: *const u8) {
    let blocks = args.k / BLOCK;
    let mut out = [[D::Float::splat(0.0); 2]; R];
    // SAFETY: as above.
    unsafe {
        let mut a: [*const i8; R] = core::array::from_fn(|r| args.q.add((row + r) * args.k));
        let s = args.s.add(row * blocks);
        let sums = args.sums.add(row * blocks);
        let mut w = expanded;
        for block in 0..blocks {
            let scales = w.cast::<f32>();
            if KIND == I8S {
                for half in 0..2 {
                    let mut dots = begin::<D, KIND, R>(w, half);
                    D::dots::<R>(&mut dots, a, w.add(HEAD), half * 4, half * 4 + 4);
                    fold::<D, R>(&mut out, &dots, scales.add(half * 8), s.add(block), blocks);
                }
            } else {
                let mut dots = begin::<D, KIND, R>(w, 0);
                D::dots::<R>(&mut dots, a, w.add(HEAD), 0, 8);
                fold::<D, R>(&mut out, &dots, scales, s.add(block), blocks);
            }
            if KIND == U4 || KIND == I8M {
                fold_min::<D, R>(&mut out, scales.add(8), sums.add(block), blocks);
            }
            w = w.add(HEAD + D::EXPANDED);
            a = a.map(|a| a.add(BLOCK));
        }
        for r in 0..R {
            put::<D>(args, panel, row + r, out[r]);
        }
    }
}

/// What the sums of a block (or of its half, for a scale per 16) begin with.
///
/// # Safety
/// `w` is an expanded block.
#[inline(always)]
unsafe fn begin<D: Dots, const KIND: u32, const R: usize>(w: *const u8, half: usize) -> [[D::I; 2]; R] {
    if KIND == U4 {
        return [[D::zero(); 2]; R];
    }
    // SAFETY: as above.
    unsafe {
        let first = w.add(64).cast::<i32>();
        let part = |half: usize, group: usize| D::load_sums(first.add(half * 8 + group * 4));
        if KIND == I8S {
            return [[part(half, 0), part(half, 1)]; R];
        }
        [[D::add_sums(part(0, 0), part(1, 0)), D::add_sums(part(0, 1), part(1, 1))]; R]
    }
}

/// out += float(dots) * (d * s)
///
/// # Safety
/// 8 floats at `d`, one every `step` at `s` for each row.
#[inline(always)]
unsafe fn fold<D: Dots, const R: usize>(
    out: &mut [[Lanes<D>; 2]; R],
    dots: &[[D::I; 2]; R],
    d: *const f32,
    s: *const f32,
    step: usize,
) {
    // SAFETY: as above.
    unsafe {
        let d = [D::Float::load(d), D::Float::load(d.add(4))];
        for r in 0..R {
            let s = D::Float::splat(*s.add(r * step));
            for group in 0..2 {
                let scale = D::Float::mul(d[group], s);
                out[r][group] = D::Float::mul_add(D::float(dots[r][group]), scale, out[r][group]);
            }
        }
    }
}

/// out += m * sums
///
/// # Safety
/// 8 floats at `m`, one every `step` at `sums` for each row.
#[inline(always)]
unsafe fn fold_min<D: Dots, const R: usize>(
    out: &mut [[Lanes<D>; 2]; R],
    m: *const f32,
    sums: *const f32,
    step: usize,
) {
    // SAFETY: as above.
    unsafe {
        let m = [D::Float::load(m), D::Float::load(m.add(4))];
        for r in 0..R {
            let sum = D::Float::splat(*sums.add(r * step));
            for group in 0..2 {
                out[r][group] = D::Float::mul_add(m[group], sum, out[r][group]);
            }
        }
    }
}

/// One row by 8 outputs, from the weights as they lie.
///
/// # Safety
/// `w` is panel `panel`, of a kind with one scale a block.
#[inline(never)]
unsafe fn one_row<D: Dots, const KIND: u32>(with: D::Constants, args: &Args, panel: usize, w: *const u8) {
    let mut out = [[D::Float::splat(0.0); 2]];
    let mut scales = [0f32; 16];
    for block in 0..args.k / BLOCK {
        // SAFETY: as above.
        unsafe {
            let w = w.add(block * block_bytes(KIND));
            let a = args.q.add(block * BLOCK);
            let weights = w.add(head_bytes(KIND));
            let dots = if KIND == U4 { D::dots_u4(with, a, weights) } else { D::dots_i8(with, a, weights) };
            floats_of::<D, KIND>(with, scales.as_mut_ptr(), w);
            fold::<D, 1>(&mut out, &[dots], scales.as_ptr(), args.s.add(block), 0);
            if KIND == U4 || KIND == I8M {
                fold_min::<D, 1>(&mut out, scales.as_ptr().add(8), args.sums.add(block), 0);
            }
        }
    }
    // SAFETY: as above.
    unsafe { put::<D>(args, panel, 0, out[0]) };
}

/// The f16 scales at the head of a block as floats: 8, or 16.
///
/// # Safety
/// `from` is a block, 16 floats are writable at `to`.
#[inline(always)]
unsafe fn floats_of<D: Dots, const KIND: u32>(with: D::Constants, to: *mut f32, from: *const u8) {
    for half in 0..head_bytes(KIND) / 16 {
        // SAFETY: as above.
        unsafe {
            let [low, high] = D::halves(with, from.cast::<u16>().add(half * 8));
            D::Float::store(to.add(half * 8), low);
            D::Float::store(to.add(half * 8 + 4), high);
        }
    }
}

/// Writes 8 outputs of a row, or as many as the last panel has.
///
/// # Safety
/// The row and the panel are there.
#[inline(always)]
unsafe fn put<D: Dots>(args: &Args, panel: usize, row: usize, values: [Lanes<D>; 2]) {
    // SAFETY: as above.
    unsafe { super::gemm_f32::put::<D::Float>(args.out.add(row * args.out_stride), panel, args.n, args.add, values) }
}
