//! Grammars for answers: which tokens may come next under a JSON schema, a Lark grammar, a regex or a list of choices.
//!
//! The grammar engine is llguidance. This crate bounds what a grammar from outside may cost, says where a schema is at
//! fault, and gives the whole a small interface:
//!
//! 1. `Vocabulary::new`, once a model;
//! 2. `Grammar::compile`, once a schema or grammar;
//! 3. `Grammar::matcher`, once an answer: `mask`, draw a token, `commit`.
//!
//! Every failure is a `Failure` with a code; nothing here is meant to panic. In wasm a panic traps, which leaves the
//! instance unusable: its owner makes a new one (`bindings.rs`).

mod bindings;
mod endless;
mod failure;
mod grammar;
mod limits;
mod locate;
mod matcher;
mod schema;
mod text;
mod vocabulary;

pub use failure::{Code, Failure};
pub use grammar::Grammar;
pub use limits::Limits;
pub use matcher::Matcher;
pub use vocabulary::{Tokenize, Vocabulary};

/// Seeds of hash tables, always the same: a module without a source of chance gives the same answers for the same seed.
/// What a table may hold is bounded by the limits.
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(bytes: *mut u8, length: usize) -> Result<(), getrandom::Error> {
    // SAFETY: getrandom hands a buffer of this length.
    unsafe { bytes.write_bytes(0x5a, length) };
    Ok(())
}
