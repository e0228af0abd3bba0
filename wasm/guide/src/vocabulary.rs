use std::sync::Arc;

use llguidance::ParserFactory;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::recognizer::{AnythingGoes, StackRecognizer};
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::failure::{Code, Failure};

/// Turns text into tokens, as the model's tokenizer does for text that contains no special tokens.
pub type Tokenize = Box<dyn Fn(&str) -> Vec<u32> + Send + Sync>;

/// The trie of tokens keeps depths in a byte. Longer tokens are never allowed by a mask.
const LONGEST_TOKEN: usize = 254;
/// The trie keeps token ids in 24 bits.
const MOST_TOKENS: usize = 1 << 23;

/// A model's tokens, prepared for masks. It is built once a model and shared by its grammars.
pub struct Vocabulary {
    factory: Arc<ParserFactory>,
    tokenizer: Arc<Tokenizer>,
    ends: Vec<u32>,
    tokens: usize,
}

impl Vocabulary {
    /// Builds the table.
    ///
    /// `bytes` holds all tokens one after the other; token `i` is `bytes[offsets[i]..offsets[i + 1]]`, and empty where
    /// the model has no such token. `special` has one flag a token: special tokens never match text. A mask allows `ends`
    /// where an answer may end. Without `tokenize`, no tokens are forced.
    pub fn new(
        bytes: &[u8],
        offsets: &[u32],
        special: &[u8],
        ends: &[u32],
        tokenize: Option<Tokenize>,
    ) -> Result<Self, Failure> {
        let tokens = check(bytes, offsets, special, ends)?;
        let words: Vec<Vec<u8>> = (0..tokens)
            .map(|token| {
                let text = &bytes[offsets[token] as usize..offsets[token + 1] as usize];
                match special[token] != 0 || ends.contains(&(token as u32)) {
                    _ if text.is_empty() || text.len() >= LONGEST_TOKEN => Vec::new(),
                    true => [&[TokTrie::SPECIAL_TOKEN_MARKER], text].concat(),
                    // No text of UTF-8 has this byte, and at a token's beginning it would mark a special token.
                    false if text[0] == TokTrie::SPECIAL_TOKEN_MARKER => Vec::new(),
                    false => text.to_vec(),
                }
            })
            .collect();
        let trie = TokTrie::from(&TokRxInfo::new(tokens as u32, ends[0]), &words).with_eos_tokens(ends);
        let bytes = std::array::from_fn(|byte| trie.token_id(&[byte as u8]));
        let tokenizer = Arc::new(Tokenizer { trie, tokenize, bytes });
        let env: TokEnv = tokenizer.clone();
        let mut factory =
            ParserFactory::new(&env, InferenceCapabilities::default(), &SlicedBiasComputer::general_slices())
                .map_err(|error| Failure::from_engine(&error.to_string()))?;
        factory.quiet();
        Ok(Vocabulary { factory: Arc::new(factory), tokenizer, ends: ends.to_vec(), tokens })
    }

    /// Number of tokens. A mask has one bit for each, in words of 32.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    pub(crate) fn factory(&self) -> &Arc<ParserFactory> {
        &self.factory
    }

    pub(crate) fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    pub(crate) fn ends(&self) -> &[u32] {
        &self.ends
    }
}

/// Returns the number of tokens.
fn check(bytes: &[u8], offsets: &[u32], special: &[u8], ends: &[u32]) -> Result<usize, Failure> {
    let invalid = |message: String| Err(Failure::new(Code::Invalid, message));
    let tokens = special.len();
    if tokens == 0 || tokens > MOST_TOKENS {
        return invalid(format!("a vocabulary has 1 to {MOST_TOKENS} tokens, not {tokens}"));
    }
    if offsets.len() != tokens + 1 {
        return invalid(format!("{tokens} tokens need {} offsets, not {}", tokens + 1, offsets.len()));
    }
    if !offsets.is_sorted() || offsets[0] != 0 || offsets[tokens] as usize != bytes.len() {
        return invalid(format!("offsets must ascend from 0 to {}, the length of the tokens' bytes", bytes.len()));
    }
    if ends.is_empty() || ends.len() > 64 {
        return invalid(format!("a vocabulary has 1 to 64 end tokens, not {}", ends.len()));
    }
    match ends.iter().find(|&&end| end as usize >= tokens) {
        Some(end) => invalid(format!("end token {end} is outside of the {tokens} tokens")),
        None => Ok(tokens),
    }
}

pub(crate) struct Tokenizer {
    trie: TokTrie,
    tokenize: Option<Tokenize>,
    /// The token of each byte alone, where there is one.
    bytes: [Option<u32>; 256],
}

impl Tokenizer {
    pub(crate) fn forces(&self) -> bool {
        self.tokenize.is_some()
    }

    /// Returns the byte that all tokens of a mask begin with, and the token of that byte alone.
    pub(crate) fn only_byte(&self, mask: &[u32]) -> Option<(u8, u32)> {
        let mut only = None;
        for (index, &word) in mask.iter().enumerate() {
            let mut bits = word;
            while bits != 0 {
                let first = *self.trie.token(index as u32 * 32 + bits.trailing_zeros()).first()?;
                if only.is_some_and(|byte| byte != first) {
                    return None;
                }
                only = Some(first);
                bits &= bits - 1;
            }
        }
        only.and_then(|byte| Some((byte, self.bytes[byte as usize]?)))
    }

    /// Returns the tokens of a text that is forced. If more text may follow, those at its end are left out that could
    /// become others with it.
    pub(crate) fn forced(&self, text: &[u8], complete: bool) -> Vec<u32> {
        let mut tokens = self.tokenize_bytes(text);
        if !complete && !tokens.is_empty() {
            let (loose, _) = self.trie.chop_tokens(&mut StackRecognizer::from(AnythingGoes {}), &tokens);
            tokens.truncate(tokens.len() - loose);
        }
        tokens
    }
}

impl TokenizerEnv for Tokenizer {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| match &self.tokenize {
            Some(tokenize) => {
                let tokens = tokenize(text);
                // A tokenizer that normalizes text, or adds a space, would force something else than the grammar does.
                if self.trie.decode_raw(&tokens) == text.as_bytes() {
                    tokens
                } else {
                    self.trie.greedy_tokenize(text.as_bytes())
                }
            }
            None => self.trie.greedy_tokenize(text.as_bytes()),
        })
    }

    /// The engine must not force text by itself: it would do so without a bound.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}
