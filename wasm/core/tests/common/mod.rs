//! What the kernel tests share.
#![allow(dead_code)]
pub mod world;

/// xorshift; print the seed with every failure.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    /// Uniform in -size..size.
    pub fn float(&mut self, size: f32) -> f32 {
        ((self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * size
    }

    pub fn floats(&mut self, n: usize, size: f32) -> Vec<f32> {
        (0..n).map(|_| self.float(size)).collect()
    }
}

/// `SEED` of the environment, or the one given.
pub fn seed(default: u64) -> u64 {
    std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

/// Scratch for the calling thread, freed with the test process.
pub fn set_scratch(bytes: usize) {
    let scratch: &'static mut [u128] = Box::leak(vec![0u128; bytes.div_ceil(16)].into_boxed_slice());
    // SAFETY: lives forever.
    unsafe { foretoken_core::pool_set_scratch(scratch.as_mut_ptr().cast(), bytes) };
}

/// Fails unless |got - want| <= bound, with all that is needed to look closer. A bound must be worth something.
#[track_caller]
pub fn near(got: f32, want: f64, bound: f64, what: impl Fn() -> String) {
    assert!(bound.is_finite(), "{}: the bound itself is {bound}", what());
    let error = (got as f64 - want).abs();
    assert!(error <= bound, "{}: got {got}, want {want}, error {error:e} > {bound:e}", what());
}

pub const EPS: f64 = f32::EPSILON as f64 / 2.0;
