//! Abstracts the instruction sets for which kernels are written: f32 lanes, and int8 dot products.
pub mod dots;
pub mod floats;
