//! Splits a kernel's work over threads. A kernel is a plain function over a range of units of work
//! (panels, heads, rows) with plain arguments.
//!
//! Without the `threads` feature a kernel runs on its caller. With it, `shared.rs` hands units to
//! workers: other instances of the same module on the same memory, so a function pointer (an index
//! into the module's table) and an address mean the same to all of them.
//!
//! The pool requires that units write disjoint memory, that arguments are plain data whose pointers
//! outlive the call, and that only one thread calls `run`.

#[cfg(any(feature = "threads", not(target_arch = "wasm32")))]
pub mod shared;

/// A kernel body: computes units `lo..hi` of the work that `args` describes, with this thread's scratch.
pub type Body<A> = unsafe fn(args: &A, lo: usize, hi: usize, scratch: *mut u8);

/// Gives thread i the scratch `base + i * bytes_per_thread`. Call before any kernel, and not while one runs.
pub unsafe fn set_scratch(base: *mut u8, bytes_per_thread: usize) {
    own::set(base);
    #[cfg(feature = "threads")]
    shared::POOL.set_scratch(base as usize, bytes_per_thread);
    #[cfg(not(feature = "threads"))]
    let _ = bytes_per_thread;
}

/// Runs all `units` and returns when they are done: 0, or 1 if a worker stopped responding. `grain`
/// is the smallest number of units worth handing to a thread.
pub unsafe fn run<A>(args: &A, units: usize, grain: usize, body: Body<A>) -> u32 {
    #[cfg(feature = "threads")]
    if shared::POOL.threads() > 1 && units > grain {
        // SAFETY: the caller vouches for `args` and `body`, see the head of this file.
        return unsafe { shared::POOL.run(args, units, grain, body, own::get()) };
    }
    let _ = grain;
    // SAFETY: as above; scratch was set before.
    unsafe { body(args, 0, units, own::get()) };
    0
}

/// Begins the same job and returns; `join` waits for it. Without workers it is done before this returns. One job is
/// open at a time: `start` and `run` join one that is.
///
/// # Safety
/// What the arguments point to must live until `join`.
pub unsafe fn start<A>(args: &A, units: usize, grain: usize, body: Body<A>) {
    #[cfg(feature = "threads")]
    if shared::POOL.threads() > 1 {
        // SAFETY: as above.
        return unsafe { shared::POOL.start(args, units, grain, body, own::get()) };
    }
    let _ = grain;
    // SAFETY: as above.
    unsafe { body(args, 0, units, own::get()) };
}

/// Waits for the job that `start` began: 0, or 1 if a worker stopped responding.
pub fn join() -> u32 {
    #[cfg(feature = "threads")]
    // SAFETY: the scratch is this thread's.
    return unsafe { shared::POOL.join(own::get()) };
    #[cfg(not(feature = "threads"))]
    0
}

/// The caller's scratch, for kernels that run on it alone.
pub fn scratch() -> *mut u8 {
    own::get()
}

/// The scratch of the thread that calls kernels.
#[cfg(target_arch = "wasm32")]
mod own {
    static mut SCRATCH: *mut u8 = core::ptr::null_mut();

    pub fn set(base: *mut u8) {
        // SAFETY: only the thread that calls kernels reads or writes it.
        unsafe { SCRATCH = base }
    }

    pub fn get() -> *mut u8 {
        // SAFETY: as above.
        unsafe { SCRATCH }
    }
}

/// In native builds each test thread is a separate caller.
#[cfg(not(target_arch = "wasm32"))]
mod own {
    use std::cell::Cell;

    thread_local!(static SCRATCH: Cell<*mut u8> = const { Cell::new(std::ptr::null_mut()) });

    pub fn set(base: *mut u8) {
        SCRATCH.with(|scratch| scratch.set(base));
    }

    pub fn get() -> *mut u8 {
        SCRATCH.with(Cell::get)
    }
}
