//! The instruction sets a kernel can be written for, behind one trait: `Isa`.
pub mod floats;
