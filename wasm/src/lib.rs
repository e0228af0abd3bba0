//! The ABI, and nothing else: every function TypeScript can call, on buffers TypeScript owns.
//!
//! Pointers are byte addresses in the one linear memory; `*_stride` counts f32 elements between rows. Nothing here
//! allocates, unwinds or keeps state but the worker pool. Kernels that can fail return a status: 0 is success.
//!
//! # Layouts
//!
//! **Activations** are f32, row-major, on the flat token axis. `quantize_q8` turns rows into int8 with one scale per
//! 32 elements: `q` (rows, k) i8, `s` (rows, k/32) f32, `sums` (rows, k/32) f32 = s * sum of q in the block.
//!
//! **Weights** (n, k) are cut into panels of 8 outputs; n is padded to 8 with zeros. Inside a panel, k runs in blocks:
//!
//! | kind | k per block | bytes per panel block | content |
//! |---|---|---|---|
//! | `U4`   | 32 | 160 | f16 d[8], f16 m[8], nibbles[8 k-steps][16 B]: byte (c, i) of step t is output c (low nibble) and c+4 (high) at k = 4t + i, c in 0..4, i in 0..4 |
//! | `I8`   | 32 | 272 | f16 d[8], i8[8 k-steps][8 outputs][4 k] |
//! | `I8M`  | 32 | 288 | f16 d[8], f16 m[8], i8[8 k-steps][8 outputs][4 k] |
//! | `I8S`  | 32 | 288 | f16 d[2 halves of 16 k][8], i8[8 k-steps][8 outputs][4 k] (a scale per 16, for Q6_K) |
//! | `F32`  | 1  | 32  | f32[8] |
//! | `F16`, `BF16` | 1 | 16 | u16[8] |
//!
//! A weight is `d * q + m`. A panel is `k / block * bytes` long, panels follow each other, every weight starts on a
//! 16-byte boundary.
//!
//! **KV pages** hold 16 tokens. Page p of layer l begins at `pool + p * page_bytes + l * layer_bytes`, and there:
//! K (kv_heads, head_dim, 16) transposed so that one load takes 4 or 16 tokens, V (kv_heads, 16, head_dim), and for
//! int8 then f32 scales of K (kv_heads, 16) and of V (kv_heads, 16), one per head and token.
//!
//! **Scratch.** Each thread has its own: `pool_set_scratch(base, bytes_per_thread)`; `scratch_bytes(max_k, head_dim, group)`
//! tells how much the kernels need.
#![allow(clippy::missing_safety_doc, clippy::too_many_arguments)]
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(all(target_arch = "wasm32", feature = "threads"), feature(stdarch_wasm_atomic_wait))]

pub mod ops;
pub mod pool;
pub mod probe;
pub mod simd;

#[cfg(not(target_arch = "wasm32"))]
pub mod naive;

#[cfg(all(target_arch = "wasm32", not(test)))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}

// ---- weights and matrix products: ops/{quantize,gemm_u4,gemm_i8,gemm_f32,embed,repack,peak}.rs ----

// ---- attention, KV pages and the small kernels: ops/{attention,kv,norm,rope,swiglu,rows}.rs ----

// ---- workers and probes: pool.rs, probe.rs ----

/// What the engine's relaxed dot product does: bits of probe.rs. 0 in builds that don't use it.
#[unsafe(no_mangle)]
pub extern "C" fn probe() -> u32 {
    probe::probe()
}

/// Thread i's scratch is `base + i * bytes_per_thread`, 16-byte aligned. Call before any kernel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pool_set_scratch(base: *mut u8, bytes_per_thread: usize) {
    // SAFETY: the caller gives memory it owns.
    unsafe { pool::set_scratch(base, bytes_per_thread) }
}

/// Says how many threads will work, the caller included. Until then, and with 1, all runs on the caller.
#[cfg(feature = "threads")]
#[unsafe(no_mangle)]
pub extern "C" fn pool_init(threads: u32) {
    pool::shared::POOL.init(threads);
}

/// `may_block`: 1 if the caller's thread may sleep (not a browser's main thread). Default 0.
/// `timeout_ms`: how long nothing may move before a kernel answers 1, worker lost. Default 10,000; without blocking
/// it is counted in looks at memory, so it is rough.
#[cfg(feature = "threads")]
#[unsafe(no_mangle)]
pub extern "C" fn pool_set_wait(may_block: u32, timeout_ms: u32) {
    pool::shared::POOL.set_wait(may_block != 0, timeout_ms);
}

/// A worker's whole life, on a stack of its own (`__stack_pointer`): returns after `pool_stop`. `thread` is 1 or more.
#[cfg(feature = "threads")]
#[unsafe(no_mangle)]
pub extern "C" fn worker_main(thread: u32) {
    pool::shared::POOL.worker(thread as usize);
}

/// Sends all workers home. Kernels called after run on the caller alone.
#[cfg(feature = "threads")]
#[unsafe(no_mangle)]
pub extern "C" fn pool_stop() {
    pool::shared::POOL.stop();
}
