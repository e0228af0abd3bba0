//! Computes out (rows, n) = x (rows, k) times a quantised weight (n, k) transposed, with x in int8.
//!
//!     for each panel of 8 outputs:
//! expand the panel once: weights to the form that `Dots` needs, scales to f32
//!         for each tile of 4 rows:
//!             for each block of 32 k:
//!                 int sums (4, 8) = activations . weights
//!                 out (4, 8)     += float(sums) * (d * s) + m * (sum of activations)
//!
//! Expanding and tiles are separate functions: engines optimise hot functions only after some calls, and one at a time, so that small
//! functions that are called often become fast within the first prompt.
//!
//! With few rows the weights are read without expanding them: one row is limited by memory, and for some more unpacking 4 weights again for
//! each 4 rows costs less than writing and rereading them. The order of the float additions is the same in every path: a row's
//! bits do not depend on the rows that share its pass.
use super::quantize::GROUP;
use super::weight::{I8, I8M, I8S, U4, block_bytes, head_bytes, panel_bytes};
use crate::pool::Body;
use crate::simd::dots::{BLOCK, Dots, PANEL};
use crate::simd::floats::Floats;

type Lanes<D> = <<D as Dots>::Float as Floats>::F;

/// A unit of work is a panel.
pub struct Args {
    /// Shape (rows, n), rows `out_stride` apart.
    pub out: *mut f32,
    pub out_stride: usize,
    /// Quantised x, from `quantize`.
    pub q: *const i8,
    pub s: *const f32,
    pub sums: *const f32,
    pub w: *const u8,
    pub rows: usize,
    pub n: usize,
    pub k: usize,
    /// Adds to `out` instead of overwriting it.
    pub add: bool,
}

/// Returns the maximum number of rows of a pass that reads the weights without expanding them.
const fn direct_rows<D: Dots>(kind: u32) -> usize {
    match kind {
        U4 => D::DIRECT_U4,
        // Scales per 16 have no such path; int8 weights need more work than unpacking, so that it pays for fewer rows.
        I8S => 0,
        _ => D::DIRECT_I8,
    }
}

/// Number of bytes before an expanded block's weights: f32 d[8], f32 m[8] (or the second half's d), i32 first sums[2][8].
const HEAD: usize = 128;

/// Number of floats that a tile keeps in memory for its outputs.
const ROOM: usize = GROUP * PANEL;

/// Returns the bytes of scratch for a tile and one panel.
pub const fn scratch_bytes(k: usize) -> u64 {
    (ROOM * 4) as u64 + k.div_ceil(BLOCK) as u64 * (HEAD + 512) as u64
}

/// Returns the body for u4 weights, by the engine's `lowering` of the relaxed dot: `Relaxed` if that is one instruction, else `Narrow`.
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

/// Returns the body for int8 weights of `kind`, by the engine's `lowering` of the relaxed dot.
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
/// `args` must be as described, k a multiple of 32, `scratch` as large as `scratch_bytes(k)`.
pub unsafe fn body<D: Dots, const KIND: u32>(args: &Args, lo: usize, hi: usize, scratch: *mut u8) {
    let with = D::constants();
    let (room, expanded) = (scratch.cast::<f32>(), scratch.wrapping_add(ROOM * 4));
    for panel in lo..hi {
        // SAFETY: as for this function.
        unsafe {
            let w = args.w.add(panel * panel_bytes(KIND, args.k));
            if args.rows <= direct_rows::<D>(KIND) {
                let whole = args.rows / GROUP * GROUP;
                for row in (0..whole).step_by(GROUP) {
                    direct::<D, KIND, 4>(with, args, panel, row, w, room);
                }
                match args.rows - whole {
                    1 => direct::<D, KIND, 1>(with, args, panel, whole, w, room),
                    2 => direct::<D, KIND, 2>(with, args, panel, whole, w, room),
                    3 => direct::<D, KIND, 3>(with, args, panel, whole, w, room),
                    _ => {}
                }
                continue;
            }
            expand::<D, KIND>(with, expanded, w, args.k / BLOCK);
            let whole = args.rows / 4 * 4;
            for row in (0..whole).step_by(4) {
                tile::<D, KIND, 4>(args, panel, row, expanded, room);
            }
            match args.rows - whole {
                1 => tile::<D, KIND, 1>(args, panel, whole, expanded, room),
                2 => tile::<D, KIND, 2>(args, panel, whole, expanded, room),
                3 => tile::<D, KIND, 3>(args, panel, whole, expanded, room),
                _ => {}
            }
        }
    }
}

/// # Safety
/// `w` must be a panel of `blocks` blocks, `to` large enough.
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

/// Computes a group of R rows from `row` on by 8 outputs.
///
/// # Safety
/// The rows must exist; `w` is this panel, expanded, and `room` is free for floats.
#[inline(never)]
unsafe fn tile<D: Dots, const KIND: u32, const R: usize>(
    args: &Args,
    panel: usize,
    row: usize,
    mut w: *const u8,
    room: *mut f32,
) {
    // SAFETY: as above.
    unsafe {
        walk::<D, R>(args, panel, row, room, |out, a, s, sums| {
            let scales = w.cast::<f32>();
            if KIND == I8S {
                for half in 0..2 {
                    let mut dots = begin::<D, KIND, R>(w, half);
                    D::dots::<R>(&mut dots, a, w.add(HEAD), half * 4, half * 4 + 4);
                    fold::<D, KIND, R>(out, &dots, scales.add(half * 8), s, sums);
                }
            } else {
                let mut dots = begin::<D, KIND, R>(w, 0);
                D::dots::<R>(&mut dots, a, w.add(HEAD), 0, 8);
                fold::<D, KIND, R>(out, &dots, scales, s, sums);
            }
            w = w.add(HEAD + D::EXPANDED);
        });
    }
}

/// Computes the same from the packed weights, for few rows.
///
/// # Safety
/// `w` must be panel `panel`, of a kind with one scale per block; `row` begins a group of R rows, and `room` is free.
#[inline(never)]
unsafe fn direct<D: Dots, const KIND: u32, const R: usize>(
    with: D::Constants,
    args: &Args,
    panel: usize,
    row: usize,
    mut w: *const u8,
    room: *mut f32,
) {
    let mut scales = [0f32; 16];
    // SAFETY: as above.
    unsafe {
        walk::<D, R>(args, panel, row, room, |out, a, s, sums| {
            let weights = w.add(head_bytes(KIND));
            let dots = if KIND == U4 { D::dots_u4::<R>(with, a, weights) } else { D::dots_i8::<R>(with, a, weights) };
            floats_of::<D, KIND>(with, scales.as_mut_ptr(), w);
            fold::<D, KIND, R>(out, &dots, scales.as_ptr(), s, sums);
            w = w.add(block_bytes(KIND));
        });
    }
}

/// Iterates over the blocks of a group of R rows and writes their outputs; `fold` adds the part of a block.
///
/// Outputs are kept in memory, not in variables: together with the sums of a block they exceed an engine's registers, and engines then
/// spill the sums, on which a chain of dots depends, as readily as the outputs, on which nothing depends.
///
/// # Safety
/// The rows and the panel must exist, and `room` holds ROOM floats. `fold` gets the outputs (R, 8), and the block's activations, their
/// scales and their sums.
#[inline(always)]
unsafe fn walk<D: Dots, const R: usize>(
    args: &Args,
    panel: usize,
    row: usize,
    room: *mut f32,
    mut fold: impl FnMut(*mut f32, *const i8, *const f32, *const f32),
) {
    let blocks = args.k / BLOCK;
    // SAFETY: as above.
    unsafe {
        for at in 0..2 * R {
            D::Float::store(room.add(at * 4), D::Float::splat(0.0));
        }
        let mut a = args.q.add(row * args.k);
        let mut s = args.s.add(row * blocks);
        let mut sums = args.sums.add(row * blocks);
        for _ in 0..blocks {
            fold(room, a, s, sums);
            a = a.add(BLOCK * R);
            s = s.add(R);
            sums = sums.add(R);
        }
        for r in 0..R {
            let values = [0, 4].map(|at| D::Float::load(room.add(r * PANEL + at)));
            put::<D>(args, panel, row + r, values);
        }
    }
}

/// Returns the initial sums of a block (or of its half, for a scale per 16).
///
/// # Safety
/// `w` must be an expanded block.
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

/// Computes out += float(dots) * (d * s), and out += m * sums for a kind that has m.
///
/// # Safety
/// There must be (R, 8) floats at `out`, d[8] (and m[8]) at `scales`, R floats at `s` and at `sums`.
#[inline(always)]
unsafe fn fold<D: Dots, const KIND: u32, const R: usize>(
    out: *mut f32,
    dots: &[[D::I; 2]; R],
    scales: *const f32,
    s: *const f32,
    sums: *const f32,
) {
    // SAFETY: as above.
    unsafe {
        // All loads precede the first store, since the compiler has to assume that they alias.
        let eight = |at: usize| [D::Float::load(scales.add(at)), D::Float::load(scales.add(at + 4))];
        let d = eight(0);
        let with_min = KIND == U4 || KIND == I8M;
        let m = if with_min { eight(8) } else { d };
        for r in 0..R {
            let (s, sum) = (D::Float::splat(*s.add(r)), D::Float::splat(*sums.add(r)));
            for group in 0..2 {
                let at = out.add(r * PANEL + group * 4);
                let scale = D::Float::mul(d[group], s);
                let mut value = D::Float::mul_add(D::float(dots[r][group]), scale, D::Float::load(at));
                if with_min {
                    value = D::Float::mul_add(m[group], sum, value);
                }
                D::Float::store(at, value);
            }
        }
    }
}

/// Converts the f16 scales at the head of a block to floats: 8, or 16.
///
/// # Safety
/// `from` must be a block, and 16 floats must be writable at `to`.
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
/// The row and the panel must exist.
#[inline(always)]
unsafe fn put<D: Dots>(args: &Args, panel: usize, row: usize, values: [Lanes<D>; 2]) {
    // SAFETY: as above.
    unsafe { super::gemm_f32::put::<D::Float>(args.out.add(row * args.out_stride), panel, args.n, args.add, values) }
}
