//! Contains one file per kernel; each has its arguments, its body over a range of units, and its shape comments.
pub mod activation;
pub mod attention;
pub mod best;
pub mod embed;
pub mod exp;
pub mod gemm_f32;
pub mod gemm_int;
pub mod kv;
pub mod moments;
pub mod norm;
pub mod peak;
pub mod quantize;
pub mod repack;
pub mod rope;
pub mod rows;
pub mod weight;
pub mod wire;
