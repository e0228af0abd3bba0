//! The threaded pool: one caller, several workers, one job at a time.
//!
//! A job is open while `next` carries its generation and units are left. A thread that wants work reads the job's
//! fields and then claims units by compare-and-swap on `next`, generation included. So:
//!
//! - a successful claim proves that the fields belong to that job, because the caller writes the next job only
//!   after all units of this one are done;
//! - a late worker with an old generation claims nothing and touches nothing;
//! - a worker that never arrives costs only its help: the caller claims units too.
//!
//! Only a worker that dies while holding units is a loss. The caller sees no progress for the timeout, returns 1, and
//! returns 1 from then on: the dead worker may only be slow, so its job is never overwritten (arguments are kept
//! here, not on the caller's stack).
//!
//! Generations wrap after 2^32 jobs. A worker would have to sleep between two instructions through exactly that many.
use super::Body;
use core::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

/// Maximum size of kernel arguments, in bytes.
const ARGS: usize = 256;
/// Polls of the generation before a worker sleeps: 0.1 to 0.2 ms, longer than the gaps between kernels.
const WORKER_SPINS: u32 = 100_000;
/// Polls of `done` before a caller that may block does so.
const CALLER_SPINS: u32 = 50_000;
/// Polls per millisecond without a clock and without blocking. An underestimate only shortens a long timeout.
const SPINS_PER_MS: u64 = 1_000_000;

/// A `Body<A>` with its type A erased: a thin reference and a thin pointer are passed alike.
type Raw = unsafe fn(*const u8, usize, usize, *mut u8);

pub static POOL: Pool = Pool::new();

#[repr(C, align(16))]
struct Args(core::cell::UnsafeCell<[u8; ARGS]>);

pub struct Pool {
    threads: AtomicU32,
    /// Written last when a job opens; workers poll it.
    generation: AtomicU32,
    /// Generation of the open job (high half) and its first unclaimed unit (low half).
    next: AtomicU64,
    units: AtomicU32,
    grain: AtomicU32,
    body: AtomicPtr<()>,
    /// Completed units of the open job.
    done: AtomicU32,
    /// Workers that are, or are about to be, asleep on `generation`.
    sleepers: AtomicU32,
    /// 1 while the caller is, or is about to be, asleep on `done`.
    waiting: AtomicU32,
    stopped: AtomicU32,
    broken: AtomicU32,
    may_block: AtomicU32,
    timeout_ms: AtomicU32,
    scratch: AtomicUsize,
    scratch_bytes: AtomicUsize,
    args: Args,
}

// SAFETY: `args` is written by the caller alone, while no job is open, and read by holders of a claim alone.
unsafe impl Sync for Pool {}

impl Pool {
    pub const fn new() -> Self {
        Self {
            threads: AtomicU32::new(1),
            generation: AtomicU32::new(0),
            next: AtomicU64::new(0),
            units: AtomicU32::new(0),
            grain: AtomicU32::new(1),
            body: AtomicPtr::new(core::ptr::null_mut()),
            done: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            stopped: AtomicU32::new(0),
            broken: AtomicU32::new(0),
            may_block: AtomicU32::new(0),
            timeout_ms: AtomicU32::new(10_000),
            scratch: AtomicUsize::new(0),
            scratch_bytes: AtomicUsize::new(0),
            args: Args(core::cell::UnsafeCell::new([0; ARGS])),
        }
    }

    /// Sets the number of threads, the caller included.
    pub fn init(&self, threads: u32) {
        self.threads.store(threads.max(1), SeqCst);
    }

    /// Sets whether the caller may sleep (a browser's main thread may not), and the time without
    /// progress, in milliseconds, before a worker counts as lost.
    pub fn set_wait(&self, may_block: bool, timeout_ms: u32) {
        self.may_block.store(may_block as u32, SeqCst);
        self.timeout_ms.store(timeout_ms, SeqCst);
    }

    pub fn set_scratch(&self, base: usize, bytes_per_thread: usize) {
        self.scratch.store(base, SeqCst);
        self.scratch_bytes.store(bytes_per_thread, SeqCst);
    }

    pub fn threads(&self) -> u32 {
        self.threads.load(Relaxed)
    }

    /// Stops the workers; later jobs run on the caller alone.
    pub fn stop(&self) {
        self.threads.store(1, SeqCst);
        self.stopped.store(1, SeqCst);
        self.generation.fetch_add(1, SeqCst);
        wait::notify(&self.generation);
    }

    /// Runs a job, see `pool::run`; `scratch` is the caller's.
    ///
    /// # Safety
    /// `body` must be sound on any disjoint ranges of units at once, from any thread, with these arguments.
    pub unsafe fn run<A>(&self, args: &A, units: usize, grain: usize, body: Body<A>, scratch: *mut u8) -> u32 {
        // SAFETY: as for this function.
        unsafe {
            self.start(args, units, grain, body, scratch);
            self.join(scratch)
        }
    }

    /// Opens a job for the workers and returns; `join` waits for it. A job that is still open is joined first, and
    /// none is opened after a worker was lost, which `join` reports.
    ///
    /// # Safety
    /// As for `run`; what the arguments point to must live until `join`.
    pub unsafe fn start<A>(&self, args: &A, units: usize, grain: usize, body: Body<A>, scratch: *mut u8) {
        const { assert!(size_of::<A>() <= ARGS && align_of::<A>() <= 16) };
        // SAFETY: as for this function.
        if unsafe { self.join(scratch) } != 0 {
            return;
        }
        let generation = self.generation.load(SeqCst).wrapping_add(1);
        let closed = (generation as u64) << 32 | u32::MAX as u64;
        // Before any field changes: a late worker must not meet new fields with the old generation still claimable.
        self.next.store(closed, SeqCst);
        // SAFETY: no job is open, so nobody reads `args`; plain bytes fit, as asserted.
        unsafe {
            let to = self.args.0.get().cast::<u8>();
            core::ptr::copy_nonoverlapping((args as *const A).cast::<u8>(), to, size_of::<A>());
        }
        self.units.store(units as u32, SeqCst);
        self.grain.store(grain.max(1) as u32, SeqCst);
        self.body.store(body as *const () as *mut (), SeqCst);
        self.done.store(0, SeqCst);
        self.next.store((generation as u64) << 32, SeqCst);
        self.generation.store(generation, SeqCst);
        if self.sleepers.load(SeqCst) > 0 {
            wait::notify(&self.generation);
        }
    }

    /// Computes what is left of the open job and waits for the rest: 0, also if no job is open, or 1 if a worker was
    /// lost.
    ///
    /// # Safety
    /// `scratch` must be the caller's, or null if no job was started whose body uses it.
    pub unsafe fn join(&self, scratch: *mut u8) -> u32 {
        if self.broken.load(SeqCst) != 0 {
            return 1;
        }
        let units = self.units.load(SeqCst);
        if self.done.load(SeqCst) == units {
            return 0;
        }
        // `stop` raises `generation`, but not that of the job.
        let generation = (self.next.load(SeqCst) >> 32) as u32;
        // SAFETY: the caller of `start` vouched for the job, and ours for the scratch.
        unsafe { self.work(generation, scratch) };
        self.finish(units)
    }

    /// Runs a worker until `stop`. `thread` is 1 or more and selects its scratch.
    pub fn worker(&self, thread: usize) {
        let mut seen = self.generation.load(SeqCst);
        // A job that is open now counts like the next one.
        let mut first = true;
        while self.stopped.load(SeqCst) == 0 {
            if !first {
                seen = self.await_job(seen);
            }
            first = false;
            let scratch = self.scratch.load(SeqCst) + thread * self.scratch_bytes.load(SeqCst);
            // SAFETY: `work` runs a body only with a claim on the job it belongs to.
            unsafe { self.work(seen, scratch as *mut u8) };
        }
    }

    /// Waits for the next generation after `seen`: polls for a while, then sleeps.
    fn await_job(&self, seen: u32) -> u32 {
        for _ in 0..WORKER_SPINS {
            let now = self.generation.load(SeqCst);
            if now != seen {
                return now;
            }
            core::hint::spin_loop();
        }
        loop {
            self.sleepers.fetch_add(1, SeqCst);
            wait::wait(&self.generation, seen, -1);
            self.sleepers.fetch_sub(1, SeqCst);
            let now = self.generation.load(SeqCst);
            if now != seen {
                return now;
            }
        }
    }

    /// Claims and computes units of job `generation` until none are left.
    ///
    /// # Safety
    /// `scratch` belongs to this thread.
    unsafe fn work(&self, generation: u32, scratch: *mut u8) {
        let units = self.units.load(SeqCst);
        let grain = self.grain.load(SeqCst);
        let body = self.body.load(SeqCst);
        let share = 2 * self.threads.load(SeqCst);
        loop {
            let next = self.next.load(SeqCst);
            let lo = next as u32;
            if (next >> 32) as u32 != generation || lo >= units {
                return;
            }
            // Large pieces first, small ones last, so that a slow core delays the end only a little.
            let count = ((units - lo) / share).max(grain).min(units - lo);
            if self.next.compare_exchange(next, next + count as u64, SeqCst, SeqCst).is_err() {
                continue;
            }
            // SAFETY: the claim succeeded, so `body` and `args` are this job's (see the head of this file); `body` came
            // from a `Body<A>`.
            unsafe {
                let body = core::mem::transmute::<*mut (), Raw>(body);
                body(self.args.0.get().cast::<u8>(), lo as usize, (lo + count) as usize, scratch);
            }
            let done = self.done.fetch_add(count, SeqCst) + count;
            if done == units && self.waiting.load(SeqCst) != 0 {
                wait::notify(&self.done);
            }
        }
    }

    /// Waits until all units are done. Returns 1 after a timeout without progress.
    fn finish(&self, units: u32) -> u32 {
        let may_block = self.may_block.load(SeqCst) != 0;
        let timeout_ms = self.timeout_ms.load(SeqCst) as u64;
        let mut last = self.done.load(SeqCst);
        let most = if may_block { CALLER_SPINS as u64 } else { timeout_ms * SPINS_PER_MS };
        let mut spins = 0u64;
        while last != units {
            if spins < most {
                spins += 1;
                core::hint::spin_loop();
            } else if !may_block || !self.sleep(last, timeout_ms) {
                self.broken.store(1, SeqCst);
                return 1;
            }
            let now = self.done.load(SeqCst);
            if now != last {
                spins = 0;
            }
            last = now;
        }
        0
    }

    /// Sleeps until all units are done or the timeout; returns false if `done` is still `last`.
    fn sleep(&self, last: u32, timeout_ms: u64) -> bool {
        self.waiting.store(1, SeqCst);
        wait::wait(&self.done, last, (timeout_ms * 1_000_000) as i64);
        self.waiting.store(0, SeqCst);
        self.done.load(SeqCst) != last
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(target_arch = "wasm32")]
mod wait {
    use core::arch::wasm32::{memory_atomic_notify, memory_atomic_wait32};
    use core::sync::atomic::AtomicU32;

    /// Sleeps while `word` is `value`, at most `nanoseconds` (negative: without limit).
    pub fn wait(word: &AtomicU32, value: u32, nanoseconds: i64) {
        // SAFETY: the address of a live, aligned word in shared memory.
        unsafe { memory_atomic_wait32(word.as_ptr().cast(), value as i32, nanoseconds) };
    }

    pub fn notify(word: &AtomicU32) {
        // SAFETY: as above.
        unsafe { memory_atomic_notify(word.as_ptr().cast(), u32::MAX) };
    }
}

/// Sleeps in small steps, for native tests.
#[cfg(not(target_arch = "wasm32"))]
mod wait {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::time::{Duration, Instant};

    pub fn wait(word: &AtomicU32, value: u32, nanoseconds: i64) {
        let start = Instant::now();
        while word.load(SeqCst) == value {
            if nanoseconds >= 0 && start.elapsed().as_nanos() as i64 >= nanoseconds {
                return;
            }
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    pub fn notify(_: &AtomicU32) {}
}
