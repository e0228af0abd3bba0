//! The oracle: each kernel by definition, with f64 sums and no optimizations. Native builds only.
pub mod attention;
pub mod products;
pub mod residual;
pub mod small;
pub mod wire;
