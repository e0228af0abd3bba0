use std::sync::Arc;

use llguidance::Matcher as Engine;
use llguidance::api::StopReason;

use crate::failure::{Code, Failure};
use crate::vocabulary::{Tokenizer, Vocabulary};

/// Each forced byte costs a mask.
const MOST_FORCED: usize = 256;

/// The state of one answer under a grammar.
pub struct Matcher {
    engine: Engine,
    tokenizer: Arc<Tokenizer>,
    ends: Vec<u32>,
    tokens: usize,
    /// Tokens that the engine has consumed.
    consumed: usize,
    /// End tokens after the engine had stopped, which it does not take.
    after: usize,
}

impl Matcher {
    pub(crate) fn new(engine: Engine, vocabulary: &Vocabulary) -> Self {
        Matcher {
            engine,
            tokenizer: vocabulary.tokenizer().clone(),
            ends: vocabulary.ends().to_vec(),
            tokens: vocabulary.tokens(),
            consumed: 0,
            after: 0,
        }
    }

    /// Fails if the matcher cannot be used: the grammar matches nothing, or its first mask exceeds a limit.
    pub(crate) fn check_open(&self) -> Result<(), Failure> {
        let mut trial = self.separate();
        let mut mask = vec![0; self.tokens.div_ceil(32)];
        if trial.mask(&mut mask)? {
            return Ok(());
        }
        Err(Failure::new(Code::Unsatisfiable, "no answer can match this grammar"))
    }

    /// Sets the bit of each token that may come next: token `i` is bit `i % 32` of word `i / 32`. Returns false if no
    /// token may come, not even an end token. A matcher that is complete allows end tokens only.
    pub fn mask(&mut self, into: &mut [u32]) -> Result<bool, Failure> {
        let words = self.tokens.div_ceil(32);
        if into.len() != words {
            let message = format!("a mask of {} tokens has {words} words, not {}", self.tokens, into.len());
            return Err(Failure::new(Code::Rejected, message));
        }
        into.fill(0);
        match self.engine.compute_mask_or_eos() {
            Ok(mask) => {
                let bits = mask.as_slice();
                let shared = bits.len().min(words);
                into[..shared].copy_from_slice(&bits[..shared]);
                Ok(into.iter().any(|&word| word != 0))
            }
            Err(error) => match self.dead_end(&error.to_string()) {
                true => Ok(false),
                false => Err(Failure::from_engine(&error.to_string())),
            },
        }
    }

    /// Accepts a token. A token that the mask excludes is rejected and leaves the state as it was.
    pub fn commit(&mut self, token: u32) -> Result<(), Failure> {
        if self.is_stopped() {
            self.usable()?;
            if self.ends.contains(&token) {
                self.after += 1;
                return Ok(());
            }
            return Err(Failure::new(Code::Rejected, format!("the answer is complete; token {token} cannot follow")));
        }
        if token as usize >= self.tokens {
            let message = format!("token {token} is outside of the {} tokens", self.tokens);
            return Err(Failure::new(Code::Rejected, message));
        }
        match self.engine.try_consume_tokens(&[token]) {
            Ok(1) => {
                self.consumed += 1;
                Ok(())
            }
            Ok(_) => Err(Failure::new(Code::Rejected, format!("the grammar does not allow token {token} here"))),
            Err(error) => Err(Failure::from_engine(&error.to_string())),
        }
    }

    /// Returns the tokens that must come next, in the model's own tokenization; none where there is a choice, or without
    /// a tokenizer. They are not committed. Long forced text comes in parts of `MOST_FORCED` bytes.
    pub fn forced(&mut self) -> Vec<u32> {
        if !self.tokenizer.forces() || self.is_stopped() {
            return Vec::new();
        }
        let mut ahead = self.fork();
        let mut mask = vec![0; self.tokens.div_ceil(32)];
        let mut text = Vec::new();
        while text.len() < MOST_FORCED && !ahead.is_stopped() && ahead.mask(&mut mask) == Ok(true) {
            match self.tokenizer.only_byte(&mask) {
                Some((byte, token)) if ahead.commit(token).is_ok() => text.push(byte),
                _ => break,
            }
        }
        self.tokenizer.forced(&text, ahead.is_stopped())
    }

    /// Returns true if the answer may end here.
    pub fn is_accepting(&mut self) -> Result<bool, Failure> {
        if self.engine.is_error() {
            return self.usable().map(|()| false);
        }
        self.engine.is_accepting().map_err(|error| Failure::from_engine(&error.to_string()))
    }

    /// Returns true if nothing but an end token may come: the answer is complete, ended, or cannot go on.
    pub fn is_stopped(&self) -> bool {
        self.engine.is_stopped()
    }

    /// Takes back the last `count` tokens.
    pub fn rollback(&mut self, count: usize) -> Result<(), Failure> {
        let committed = self.consumed + self.after;
        if count > committed {
            let message = format!("{count} tokens cannot be taken back: {committed} are committed");
            return Err(Failure::new(Code::Rejected, message));
        }
        self.usable()?;
        let after = count.min(self.after);
        let consumed = count - after;
        self.engine.rollback(consumed).map_err(|error| Failure::from_engine(&error.to_string()))?;
        self.after -= after;
        self.consumed -= consumed;
        Ok(())
    }

    /// Returns a matcher in the same state that shares the lexer's cache, so that both profit from what one has seen.
    /// What exceeds a limit in one ends both.
    pub fn fork(&self) -> Self {
        self.with(self.engine.clone())
    }

    /// Returns a matcher in the same state that shares nothing.
    pub(crate) fn separate(&self) -> Self {
        self.with(self.engine.deep_clone())
    }

    fn with(&self, engine: Engine) -> Self {
        Matcher { engine, tokenizer: self.tokenizer.clone(), ends: self.ends.clone(), ..*self }
    }

    fn usable(&self) -> Result<(), Failure> {
        match self.engine.get_error() {
            Some(error) if !self.dead_end(&error) => Err(Failure::from_engine(&error)),
            _ => Ok(()),
        }
    }

    /// Where no token may follow the engine reports an error that is only the name of its reason.
    fn dead_end(&self, error: &str) -> bool {
        error.trim_start().starts_with(&StopReason::NoExtensionBias.to_string())
    }
}
