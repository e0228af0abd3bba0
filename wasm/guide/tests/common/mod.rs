//! A small vocabulary: every byte, some words, two special tokens and an end token.
#![allow(dead_code)]

use foretoken_guide::{Code, Failure, Grammar, Limits, Matcher, Vocabulary};

pub const WORDS: [&str; 9] = ["{\"", "\":", "\"}", "true", "name", "age", "12", ", ", "\"name\""];
pub const TOOL: u32 = 256 + WORDS.len() as u32;
pub const END: u32 = TOOL + 1;
pub const TOKENS: usize = END as usize + 1;

pub fn texts() -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
    texts.extend(WORDS.iter().map(|word| word.as_bytes().to_vec()));
    texts.extend([b"<|tool|>".to_vec(), b"<|end|>".to_vec()]);
    texts
}

pub fn build(texts: &[Vec<u8>], ends: &[u32], forcing: bool) -> Result<Vocabulary, Failure> {
    let mut offsets = vec![0u32];
    offsets.extend(texts.iter().scan(0, |end, text| {
        *end += text.len() as u32;
        Some(*end)
    }));
    let special: Vec<u8> = texts.iter().map(|text| text.starts_with(b"<|") as u8).collect();
    let tokenize = forcing.then(|| {
        let texts = texts.to_vec();
        Box::new(move |text: &str| longest(&texts, text.as_bytes())) as foretoken_guide::Tokenize
    });
    Vocabulary::new(&texts.concat(), &offsets, &special, ends, tokenize)
}

pub fn vocabulary() -> Vocabulary {
    build(&texts(), &[END], false).expect("the vocabulary is valid")
}

pub fn forcing() -> Vocabulary {
    build(&texts(), &[END], true).expect("the vocabulary is valid")
}

/// The longest token at each place.
pub fn longest(texts: &[Vec<u8>], mut rest: &[u8]) -> Vec<u32> {
    let mut tokens = Vec::new();
    while !rest.is_empty() {
        let plain = texts.iter().enumerate().filter(|(_, text)| !text.starts_with(b"<|") && rest.starts_with(text));
        let (token, text) = plain.max_by_key(|(_, text)| text.len()).expect("every byte is a token");
        tokens.push(token as u32);
        rest = &rest[text.len()..];
    }
    tokens
}

pub fn compile(kind: &str, text: &str) -> Result<Grammar, Failure> {
    Grammar::compile(&vocabulary(), kind, text, &Limits::default())
}

pub fn matcher(kind: &str, text: &str) -> Matcher {
    compile(kind, text).expect("the grammar is valid").matcher()
}

/// The tokens that the mask allows.
pub fn allowed(matcher: &mut Matcher) -> Vec<u32> {
    let mut mask = vec![0; TOKENS.div_ceil(32)];
    matcher.mask(&mut mask).expect("the mask is within its limits");
    (0..TOKENS as u32).filter(|token| mask[*token as usize / 32] >> (token % 32) & 1 == 1).collect()
}

/// Commits the bytes of `text`; returns where one is rejected.
pub fn feed(matcher: &mut Matcher, text: &str) -> Result<(), usize> {
    text.bytes().enumerate().try_for_each(|(at, byte)| {
        matcher.commit(byte.into()).map_err(|failure| {
            assert_eq!(failure.code, Code::Rejected, "{failure}");
            at
        })
    })
}

/// True if the grammar matches the whole of `text`.
pub fn matches(kind: &str, text: &str, answer: &str) -> bool {
    let mut matcher = matcher(kind, text);
    feed(&mut matcher, answer).is_ok() && matcher.is_accepting().expect("within the limits")
}
