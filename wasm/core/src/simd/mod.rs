//! The instruction sets a kernel can be written for: f32 lanes, and int8 dot products.
pub mod dots;
pub mod floats;
