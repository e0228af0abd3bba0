//! The ABI: every function TypeScript can call, on buffers that TypeScript owns (products: products.rs; the wire: wire.rs).
//!
//! Pointers are byte addresses in the one linear memory; `*_stride` counts f32 elements between rows. Nothing
//! here allocates, unwinds or keeps state except the worker pool. Kernels that can fail return a status: 0 is
//! success. Functions that count bytes return u64, so that an oversized shape yields a number that is too
//! large; kernels take shapes that fit, in buffers below 2 GiB.
//!
//! # Layouts
//!
//! **Activations** are f32, row-major, on the flat token axis. `quantize_q8` turns rows into int8 with one scale per
//! 32 elements, and lays them in groups of 4 rows (the last group: R rows, what is left): of each group `q` (k / 4, R, 4) i8,
//! `s` (k / 32, R) f32, and `sums` (k / 32, R) f32 = s * sum of q in the block. Groups follow each other.
//!
//! **Weights** (n, k) are cut into panels of 8 outputs; n is padded to 8 with zeros. Inside a panel, k runs in blocks:
//!
//! | kind | k per block | bytes per panel block | content |
//! |---|---|---|---|
//! | `U4`   | 32 | 160 | f16 d[8], f16 m[8], nibbles[8 k-steps][16 B]: byte (c, i) of step t is output c (low nibble) and c+4 (high) at k = 4t + i, c in 0..4, i in 0..4 |
//! | `I8`   | 32 | 272 | f16 d[8], i8[8 k-steps][8 outputs][4 k] |
//! | `I8M`  | 32 | 288 | f16 d[8], f16 m[8], i8[8 k-steps][8 outputs][4 k] |
//! | `I8S`  | 32 | 288 | f16 d[2 halves of 16 k][8], i8[8 k-steps][8 outputs][4 k] (a scale per 16, for Q2_K, Q3_K and Q6_K) |
//! | `F32`  | 1  | 32  | f32[8] |
//! | `F16`, `BF16` | 1 | 16 | u16[8] |
//!
//! A weight is `d * q + m`. A panel is `k / block * bytes` long, panels follow each other, every weight starts on a
//! 16-byte boundary.
//!
//! **KV pages** hold 16 tokens. The part of layer l in page p begins at `layer_base + p * page_bytes`, where the caller chooses the
//! unit: ids may count pages of a pool that lies in one piece, or units of 64 bytes, so that pages may lie anywhere. There:
//! K (kv_heads, head_dim, 16) transposed so that one load takes 4 or 16 tokens, V (kv_heads, 16, head_dim), and for
//! int8 then f32 scales of K (kv_heads, 16) and of V (kv_heads, 16), one per head and token.
//!
//! **Scratch.** Each thread has its own: `pool_set_scratch(base, bytes_per_thread)`; `scratch_bytes(max_k, head_dim, group)`
//! tells how much the kernels need.
#![allow(clippy::missing_safety_doc, clippy::too_many_arguments, clippy::needless_range_loop)]
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(all(target_arch = "wasm32", feature = "threads"), feature(stdarch_wasm_atomic_wait))]

pub mod ops;
pub mod pool;
pub mod probe;
pub mod simd;
mod wire;

#[cfg(not(target_arch = "wasm32"))]
pub mod naive;

#[cfg(all(target_arch = "wasm32", not(test)))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}

mod products;

pub use products::*;

// ---- attention, KV pages and the small kernels: ops/{attention,kv,norm,rope,activation,rows}.rs ----

pub use wire::{wire_bytes, wire_decode, wire_decode_residual, wire_encode, wire_encode_residual};

use ops::kv::Layout;
use ops::{attention as attend, kv, norm, rows as row_ops};
use simd::floats::Native;

/// Number of rows of a small kernel worth handing to a thread: about 5 microseconds at 4 GB/s of floats.
pub(crate) fn grain(cols: usize) -> usize {
    (5_000 / cols.max(1)).max(1)
}

/// out (rows, cols) = x / rms(x) * w. `out` may be `x`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rms_norm(
    out: *mut f32,
    out_stride: usize,
    x: *const f32,
    x_stride: usize,
    w: *const f32,
    rows: usize,
    cols: usize,
    eps: f32,
) -> u32 {
    let args = norm::NormArgs { out, out_stride, x, x_stride, w, cols, eps };
    // SAFETY: the caller's buffers have these shapes; so for all that follow.
    unsafe { pool::run(&args, rows, grain(cols), norm::rms_norm::<Native>) }
}

/// x (rows; heads * head_dim from column `col` on) = x / rms of its head * w (head_dim).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn head_norm(
    x: *mut f32,
    x_stride: usize,
    col: usize,
    heads: usize,
    head_dim: usize,
    w: *const f32,
    rows: usize,
    eps: f32,
) -> u32 {
    let args = norm::HeadNormArgs { x: x.wrapping_add(col), x_stride, heads, head_dim, w, eps };
    unsafe { pool::run(&args, rows, grain(heads * head_dim), norm::head_norm::<Native>) }
}

/// x (rows; n from column `col` on) += bias (n).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn add_bias(
    x: *mut f32,
    x_stride: usize,
    col: usize,
    bias: *const f32,
    n: usize,
    rows: usize,
) -> u32 {
    let args = row_ops::AddArgs { x: x.wrapping_add(col), x_stride, y: bias, y_stride: 0, n };
    unsafe { pool::run(&args, rows, grain(n), row_ops::add::<Native>) }
}

/// x (rows, n) *= y (rows, n).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn multiply(
    x: *mut f32,
    x_stride: usize,
    y: *const f32,
    y_stride: usize,
    n: usize,
    rows: usize,
) -> u32 {
    let args = row_ops::AddArgs { x, x_stride, y, y_stride, n };
    unsafe { pool::run(&args, rows, grain(n), row_ops::multiply::<Native>) }
}

/// x (rows, n) = cap * tanh(x / cap).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn soft_cap(x: *mut f32, x_stride: usize, n: usize, rows: usize, cap: f32) -> u32 {
    let args = row_ops::SoftCapArgs { x, x_stride, n, cap };
    unsafe { pool::run(&args, rows, grain(n), row_ops::soft_cap::<Native>) }
}

/// out (rows, n) = keep * out + scale * x. `x` may be `out`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scale_add(
    out: *mut f32,
    out_stride: usize,
    x: *const f32,
    x_stride: usize,
    n: usize,
    rows: usize,
    keep: f32,
    scale: f32,
) -> u32 {
    let args = row_ops::ScaleAddArgs { out, out_stride, x, x_stride, n, keep, scale };
    unsafe { pool::run(&args, rows, grain(n), row_ops::scale_add::<Native>) }
}

/// Rotates the first `turned` elements of each head of x (rows; heads * head_dim from column `col` on) by table (rows, 2,
/// turned / 2): cosines, then sines. `pairs`: 0 pairs i with i + turned / 2, 1 pairs 2i with 2i + 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rope(
    x: *mut f32,
    x_stride: usize,
    col: usize,
    heads: usize,
    head_dim: usize,
    turned: usize,
    pairs: u32,
    table: *const f32,
    rows: usize,
) -> u32 {
    let x = x.wrapping_add(col);
    let args = ops::rope::Args { x, x_stride, heads, head_dim, turned, adjacent: pairs == 1, table };
    unsafe { pool::run(&args, rows, grain(heads * turned), ops::rope::body::<Native>) }
}

/// Returns the bytes of one layer in a page. `kv_type`: 0 f32, 1 f16, 2 int8.
#[unsafe(no_mangle)]
pub extern "C" fn kv_layer_bytes(kv_type: u32, kv_heads: usize, head_dim: usize) -> u64 {
    Layout::new(kv_type, kv_heads, head_dim).bytes()
}

/// Writes k and v (rows; kv_heads * head_dim from columns `k_col` and `v_col` of x on) into pages: row r to
/// slots[r] = page * 16 + offset. The slots of a call differ.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write_kv(
    kv_type: u32,
    layer_base: *mut u8,
    page_bytes: usize,
    x: *const f32,
    x_stride: usize,
    k_col: usize,
    v_col: usize,
    kv_heads: usize,
    head_dim: usize,
    slots: *const u32,
    rows: usize,
) -> u32 {
    let layout = Layout::new(kv_type, kv_heads, head_dim);
    let args = kv::WriteArgs { layout, layer_base, page_bytes, x, x_stride, k_col, v_col, slots };
    unsafe { pool::run(&args, rows, grain(2 * kv_heads * head_dim), kv::write::<Native>) }
}

/// out (tokens, heads * head_dim) = causal attention of q (tokens; heads * head_dim from column `q_col` of x on).
/// `segments` (n_segs, 4) u32: first token in the pass, tokens, positions before them, first entry in `page_table`; its
/// entries from there on are the pages of positions 0..15, 16..31 and so on. `head_dim` is a multiple of 8, at most 256.
/// A query sees the last `window` positions up to its own, or all with a `window` of 0, and `ahead` more of its segment. Scores become soft_cap *
/// tanh(score / soft_cap), or stay as they are with a `soft_cap` of 0.
/// `form`: 0 in floats; 1 in integers, where the build has the relaxed dot, pages are int8 and heads are multiples of 32.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attention(
    out: *mut f32,
    out_stride: usize,
    x: *const f32,
    x_stride: usize,
    q_col: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    kv_type: u32,
    layer_base: *const u8,
    page_bytes: usize,
    segments: *const [u32; 4],
    n_segs: usize,
    page_table: *const u32,
    scale: f32,
    window: usize,
    ahead: usize,
    soft_cap: f32,
    form: u32,
) -> u32 {
    let args = attend::Args {
        out,
        out_stride,
        q: x.wrapping_add(q_col),
        q_stride: x_stride,
        heads,
        layout: Layout::new(kv_type, kv_heads, head_dim),
        layer_base,
        page_bytes,
        segments,
        segment_count: n_segs,
        page_table,
        scale,
        window,
        ahead,
        soft_cap,
    };
    let (units, grain) = args.units();
    #[cfg(any(not(target_arch = "wasm32"), target_feature = "relaxed-simd"))]
    if form == 1 && attend::integers::fit(&args.layout) {
        return unsafe { pool::run(&args, units, grain, attend::integers::body) };
    }
    let _ = form;
    unsafe { pool::run(&args, units, grain, attend::body::<Native>) }
}

/// x (rows, 2 * kv_heads * head_dim) *= the causal convolution, channel by channel, of what `write_kv` wrote into the layer's
/// pages: of channels in the first half as K, in the second as V. `weights` (taps, channels) begin with those of the oldest
/// token; tokens before the first of a segment's pages count as zeros. `segments` and `page_table` are as for `attention`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn convolve(
    x: *mut f32,
    x_stride: usize,
    weights: *const f32,
    taps: usize,
    kv_heads: usize,
    head_dim: usize,
    kv_type: u32,
    layer_base: *const u8,
    page_bytes: usize,
    segments: *const [u32; 4],
    n_segs: usize,
    page_table: *const u32,
    rows: usize,
) -> u32 {
    let layout = Layout::new(kv_type, kv_heads, head_dim);
    let args = ops::convolve::Args {
        x,
        x_stride,
        weights,
        taps,
        layout,
        layer_base,
        page_bytes,
        segments,
        segment_count: n_segs,
        page_table,
    };
    unsafe { pool::run(&args, rows, grain(2 * taps * kv_heads * head_dim), ops::convolve::body::<Native>) }
}

/// out (rows, f) = act(gate) * up, where act is silu for a `kind` of 0 and gelu for 1. `out` may be `gate` or `up`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn activation(
    out: *mut f32,
    out_stride: usize,
    gate: *const f32,
    gate_stride: usize,
    up: *const f32,
    up_stride: usize,
    f: usize,
    rows: usize,
    kind: u32,
) -> u32 {
    let args = ops::activation::Args { out, out_stride, gate, gate_stride, up, up_stride, f, gelu: kind == 1 };
    unsafe { pool::run(&args, rows, grain(2 * f), ops::activation::body::<Native>) }
}

/// out (rows, cols) = x[ids]. `out` and `x` don't overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gather_rows(
    out: *mut f32,
    out_stride: usize,
    x: *const f32,
    x_stride: usize,
    ids: *const u32,
    cols: usize,
    rows: usize,
) -> u32 {
    let args = row_ops::GatherArgs { out, out_stride, x, x_stride, ids, cols };
    unsafe { pool::run(&args, rows, grain(cols), row_ops::gather) }
}

/// sums (x_cols, y_cols) += x transposed (x_cols, rows) times y (rows, y_cols): second moments, kept in f64.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn moments(
    sums: *mut f64,
    x: *const f32,
    x_stride: usize,
    x_cols: usize,
    y: *const f32,
    y_stride: usize,
    y_cols: usize,
    rows: usize,
) -> u32 {
    let args = ops::moments::Args { sums, x, x_stride, x_cols, y, y_stride, y_cols, rows };
    unsafe { pool::run(&args, y_cols.div_ceil(ops::moments::TILE), 1, ops::moments::body::<Native>) }
}

/// out (rows, 1 + count), of 8 bytes each = the sum of exp(x - largest) of a row of x (rows, cols) in f64, then its `count` largest values,
/// each an f32 with its column as a u32: the largest first, the lower column first among equals. `count` is from 1 to `cols`, `out` on an
/// 8-byte boundary. The sum is NaN, and the rest of the row means nothing, if a value is NaN or +Infinity, or if all are -Infinity.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn best_of_rows(
    out: *mut u8,
    x: *const f32,
    x_stride: usize,
    cols: usize,
    count: usize,
    rows: usize,
) -> u32 {
    let args = ops::best::Args { out, x, x_stride, cols, count };
    unsafe { pool::run(&args, rows, grain(cols), ops::best::body::<Native>) }
}

/// Bytes of scratch per thread for inner dimensions up to `max_k`, heads of `head_dim`, `group` query heads per KV head.
#[unsafe(no_mangle)]
pub extern "C" fn scratch_bytes(max_k: usize, head_dim: usize, group: usize) -> u64 {
    let products = ops::gemm_int::scratch_bytes(max_k).max(ops::gemm_f32::scratch_bytes(max_k));
    let products = products.max(ops::wire::residual::scratch_bytes(head_dim));
    attend::scratch_bytes(head_dim, group).max(products).div_ceil(64).saturating_mul(64)
}

// ---- workers and probes: pool.rs, probe.rs ----

/// Returns the behaviour of the engine's relaxed dot product as bits of probe.rs; 0 in builds that don't use it.
#[unsafe(no_mangle)]
pub extern "C" fn probe() -> u32 {
    probe::probe()
}

/// Sets thread i's scratch to `base + i * bytes_per_thread`, 16-byte aligned. Call before any kernel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pool_set_scratch(base: *mut u8, bytes_per_thread: usize) {
    // SAFETY: the caller gives memory it owns.
    unsafe { pool::set_scratch(base, bytes_per_thread) }
}

/// Sets the number of threads, the caller included. Before this call, and with 1, all work runs on the caller.
#[cfg(feature = "threads")]
#[unsafe(no_mangle)]
pub extern "C" fn pool_init(threads: u32) {
    pool::shared::POOL.init(threads);
}

/// `may_block`: 1 if the caller's thread may sleep (not a browser's main thread). Default 0.
/// `timeout_ms`: how long without progress before a kernel returns 1, worker lost. Default 10,000;
/// without blocking it is counted in polls of memory, so it is approximate.
#[cfg(feature = "threads")]
#[unsafe(no_mangle)]
pub extern "C" fn pool_set_wait(may_block: u32, timeout_ms: u32) {
    pool::shared::POOL.set_wait(may_block != 0, timeout_ms);
}

/// Runs a worker on its own stack (`__stack_pointer`); returns after `pool_stop`. `thread` is 1 or more.
#[cfg(feature = "threads")]
#[unsafe(no_mangle)]
pub extern "C" fn worker_main(thread: u32) {
    pool::shared::POOL.worker(thread as usize);
}

/// Stops all workers. Later kernels run on the caller alone.
#[cfg(feature = "threads")]
#[unsafe(no_mangle)]
pub extern "C" fn pool_stop() {
    pool::shared::POOL.stop();
}
