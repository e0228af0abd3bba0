//! Vocabularies as models have them, and as they must not be.

mod common;

use common::*;
use foretoken_guide::{Code, Grammar, Limits, Vocabulary};

#[test]
fn a_malformed_table_is_refused() {
    type Table = (&'static [u8], &'static [u32], &'static [u8], &'static [u32]);
    let cases: [Table; 9] = [
        (b"", &[0], &[], &[0]),
        (b"ab", &[0, 1], &[0, 0], &[0]),
        (b"ab", &[0, 2, 1], &[0, 0], &[0]),
        (b"ab", &[1, 1, 2], &[0, 0], &[0]),
        (b"ab", &[0, 1, 3], &[0, 0], &[0]),
        (b"ab", &[0, 1, 1], &[0, 0], &[0]),
        (b"ab", &[0, 1, 2], &[0, 0], &[]),
        (b"ab", &[0, 1, 2], &[0, 0], &[2]),
        (b"ab", &[0, 1, 2], &[0, 0], &[1; 65]),
    ];
    for (bytes, offsets, special, ends) in cases {
        let failure = Vocabulary::new(bytes, offsets, special, ends, None).err().expect("the table is malformed");
        assert_eq!(failure.code, Code::Invalid, "{failure}");
    }
}

#[test]
fn empty_equal_and_overlong_tokens_do_not_matter() {
    let mut texts = texts();
    texts.extend([vec![], b"name".to_vec(), vec![b'a'; 253], vec![b'a'; 254], vec![b'a'; 100_000], vec![0xff; 3]]);
    let vocabulary = build(&texts, &[END], false).unwrap();
    let grammar = Grammar::compile(&vocabulary, "regex", "name|a*", &Limits::default()).unwrap();
    let mut mask = vec![0; vocabulary.tokens().div_ceil(32)];
    grammar.matcher().mask(&mut mask).unwrap();
    let has = |token: usize| mask[token / 32] >> (token % 32) & 1 == 1;
    let [empty, twin, long, longer, longest, wild] = std::array::from_fn(|index| TOKENS + index);
    assert!(has(260) && has(twin) && has(long));
    assert!(!has(empty) && !has(longer) && !has(longest) && !has(wild));
}

#[test]
fn every_end_token_is_allowed_at_an_end() {
    let vocabulary = build(&texts(), &[END, TOOL], false).unwrap();
    let mut matcher = Grammar::compile(&vocabulary, "choice", r#"["a"]"#, &Limits::default()).unwrap().matcher();
    matcher.commit(b'a'.into()).unwrap();
    assert_eq!(allowed(&mut matcher), [TOOL, END]);
    matcher.commit(TOOL).unwrap();
}

#[test]
fn a_grammar_that_needs_other_tokens_cannot_be_matched() {
    let vocabulary = build(&[b"a".to_vec(), b"<|end|>".to_vec()], &[1], false).unwrap();
    let failure = Grammar::compile(&vocabulary, "regex", "b", &Limits::default()).err().unwrap();
    assert_eq!(failure.code, Code::Unsatisfiable);
    // Here it shows only later.
    let mut matcher = Grammar::compile(&vocabulary, "regex", "ab", &Limits::default()).unwrap().matcher();
    let mut mask = [0];
    assert!(matcher.mask(&mut mask).unwrap());
    matcher.commit(0).unwrap();
    assert!(!matcher.mask(&mut mask).unwrap());
    assert_eq!(mask, [0]);
    assert!(matcher.is_stopped() && !matcher.is_accepting().unwrap());
    assert!(!matcher.mask(&mut mask).unwrap());
}
