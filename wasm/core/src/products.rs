//! The part of the ABI for weights and matrix products: ops/{weight,repack,quantize,gemm_int,gemm_f32,embed,peak}.rs.

use crate::ops::{self, embed, gemm_f32 as float_product, gemm_int, quantize, repack as rows_to_panels, weight};
use crate::simd::floats::Native;
use crate::simd::{self, dots::PANEL};
use crate::{grain, pool};

/// The integer products available with this build's target features.
#[cfg(not(target_arch = "wasm32"))]
type Exact = simd::floats::Scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
type Exact = simd::dots::Relaxed;
#[cfg(all(target_arch = "wasm32", not(target_feature = "relaxed-simd")))]
type Exact = simd::dots::Wide;

/// Number of panels worth handing to a thread: about 5 microseconds of products.
fn panel_grain(rows: usize, k: usize) -> usize {
    (100_000 / (rows.max(1) * k.max(1))).max(1)
}

/// Number of panels worth repacking on another thread: about 10 microseconds.
fn repack_grain(k: usize) -> usize {
    (50_000 / (PANEL * k.max(1))).max(1)
}

/// The kind of weight for file type `source`, or 2^32 - 1. `backend/wasm/abi.ts` numbers types and kinds.
#[unsafe(no_mangle)]
pub extern "C" fn weight_kind(source: u32) -> u32 {
    rows_to_panels::kind_of(source)
}

/// Returns the bytes of a weight (n, k).
#[unsafe(no_mangle)]
pub extern "C" fn weight_bytes(kind: u32, n: usize, k: usize) -> u64 {
    weight::weight_bytes(kind, n, k)
}

/// Packs rows `first..first + rows` of a file's tensor at `src` into the weight (n, k) at `dst`. `first`
/// is a multiple of 8, and so is `rows`, unless they are the last. Returns 2 for invalid arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn repack(
    source: u32,
    dst: *mut u8,
    src: *const u8,
    first: usize,
    rows: usize,
    n: usize,
    k: usize,
) -> u32 {
    let args = rows_to_panels::Args { source, dst, src, first, rows, n, k };
    if !args.sound() {
        return 2;
    }
    // SAFETY: the caller's buffers have these shapes; so for all that follow.
    unsafe { pool::run(&args, args.panels(), repack_grain(k), rows_to_panels::body) }
}

/// Begins what `repack` does and returns, so that the caller can read the next rows meanwhile; `repack_end` waits for
/// it. Other kernels may run between them. Returns 2 for invalid arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn repack_start(
    source: u32,
    dst: *mut u8,
    src: *const u8,
    first: usize,
    rows: usize,
    n: usize,
    k: usize,
) -> u32 {
    let args = rows_to_panels::Args { source, dst, src, first, rows, n, k };
    if !args.sound() {
        return 2;
    }
    unsafe { pool::start(&args, args.panels(), repack_grain(k), rows_to_panels::body) };
    0
}

/// Waits for what `repack_start` began: 0, also if nothing was, or 1 if a worker stopped responding.
#[unsafe(no_mangle)]
pub extern "C" fn repack_end() -> u32 {
    pool::join()
}

/// Quantizes x (rows, k) to int8 `q` with `s` and `sums` (rows, k / 32), in groups of 4 rows; k % 32 = 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quantize_q8(
    q: *mut i8,
    s: *mut f32,
    sums: *mut f32,
    x: *const f32,
    x_stride: usize,
    rows: usize,
    k: usize,
) -> u32 {
    let args = quantize::Args { q, s, sums, x, x_stride, rows, k };
    unsafe { pool::run(&args, rows.div_ceil(quantize::GROUP), grain(quantize::GROUP * k), quantize::body::<Exact>) }
}

/// out (rows, n) = or += quantised x (rows, k) times a u4 weight (n, k) transposed. `lowering` says
/// how the engine's relaxed dot reads second operands of 128..255: 1 unsigned, 2 signed, 0 unknown.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gemm_u4(
    out: *mut f32,
    out_stride: usize,
    q: *const i8,
    s: *const f32,
    sums: *const f32,
    w: *const u8,
    rows: usize,
    n: usize,
    k: usize,
    add: u32,
    lowering: u32,
) -> u32 {
    let args = gemm_int::Args { out, out_stride, q, s, sums, w, rows, n, k, add: add != 0 };
    let body = gemm_int::u4_body(lowering);
    unsafe { pool::run(&args, n.div_ceil(PANEL), panel_grain(rows, k), body) }
}

/// The same for an int8 weight of `kind`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gemm_i8(
    out: *mut f32,
    out_stride: usize,
    q: *const i8,
    s: *const f32,
    sums: *const f32,
    w: *const u8,
    rows: usize,
    n: usize,
    k: usize,
    add: u32,
    kind: u32,
    lowering: u32,
) -> u32 {
    let args = gemm_int::Args { out, out_stride, q, s, sums, w, rows, n, k, add: add != 0 };
    let body = gemm_int::i8_body(kind, lowering);
    unsafe { pool::run(&args, n.div_ceil(PANEL), panel_grain(rows, k), body) }
}

/// out (rows, n) = or += x (rows, k) times a float weight (n, k) of `kind` transposed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gemm_f32(
    out: *mut f32,
    out_stride: usize,
    x: *const f32,
    x_stride: usize,
    w: *const u8,
    rows: usize,
    n: usize,
    k: usize,
    add: u32,
    kind: u32,
) -> u32 {
    let args = float_product::Args { out, out_stride, x, x_stride, w, rows, n, k, add: add != 0, kind };
    unsafe { pool::run(&args, n.div_ceil(PANEL), panel_grain(rows, k), float_product::body::<Native>) }
}

/// out (rows, k) = rows `ids` of a weight (n, k). Returns 1 and writes nothing if an id is not below n.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn embed_rows(
    out: *mut f32,
    out_stride: usize,
    ids: *const u32,
    w: *const u8,
    kind: u32,
    rows: usize,
    n: usize,
    k: usize,
) -> u32 {
    for row in 0..rows {
        if unsafe { *ids.add(row) } as usize >= n {
            return 1;
        }
    }
    let args = embed::Args { out, out_stride, ids, w, kind, k };
    unsafe { pool::run(&args, rows, grain(k * 4), embed::body) }
}

/// Runs the product of `gemm_u4` from registers only; returns a checksum.
#[unsafe(no_mangle)]
pub extern "C" fn peak_dot(iterations: u32, lowering: u32) -> u32 {
    ops::peak::dot(iterations, lowering)
}

/// Returns the number of operations of one iteration of `peak_dot`.
#[unsafe(no_mangle)]
pub extern "C" fn peak_dot_ops() -> u32 {
    ops::peak::OPS
}
