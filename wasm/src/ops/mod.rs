//! One file per kernel; each has its arguments, its body over a range of units, and its shape comments.
pub mod attention;
pub mod exp;
pub mod kv;
pub mod norm;
pub mod rope;
pub mod rows;
pub mod swiglu;
