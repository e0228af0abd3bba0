//! The oracle: each kernel as its definition, f64 sums, no tricks. Native builds only.
pub mod attention;
pub mod products;
pub mod residual;
pub mod small;
pub mod wire;
