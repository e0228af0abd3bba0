//! What grammars accept, and what a matcher does with tokens.

mod common;

use common::*;
use foretoken_guide::{Code, Grammar, Limits};

const PERSON: &str = r#"{ "type": "object", "properties": { "name": { "type": "string" }, "age": { "type": "integer" } },
    "required": ["name", "age"], "additionalProperties": false }"#;

#[test]
fn a_schema_accepts_what_is_valid_and_nothing_else() {
    assert!(matches("json_schema", PERSON, r#"{"name":"Ann","age":12}"#));
    assert!(matches("json_schema", PERSON, "{\"name\": \"\u{e9}\u{1f600}\",\n \"age\": -3}"));
    for wrong in [r#"{"name":"Ann"}"#, r#"{"age":1}"#, r#"{"name":1,"age":1}"#, r#"{"name":"A","age":1.5}"#, "[]"] {
        assert!(!matches("json_schema", PERSON, wrong), "{wrong}");
    }
}

#[test]
fn a_further_property_cannot_be_a_named_one_written_in_another_way() {
    let named = r#"{ "type": "object", "properties": { "a": { "type": "integer" }, "b\n": false },
        "additionalProperties": true }"#;
    let pattern = r#"{ "type": "object", "patternProperties": { "^a": { "type": "integer" } } }"#;
    for schema in [named, pattern] {
        assert!(matches("json_schema", schema, r#"{"a":1,"c":"d"}"#), "{schema}");
        assert!(matches("json_schema", schema, "{\"\u{e9}\u{1f600}\":\"\\n\\\"\\\\\"}"), "{schema}");
        let lark = format!("start: %json {schema}");
        for wrong in [r#"{"\u0061":"d"}"#, r#"{"a":"d"}"#, r#"{"c":0,"\u0061":"d"}"#] {
            assert!(!matches("json_schema", schema, wrong), "{schema} {wrong}");
            assert!(!matches("lark", &lark, wrong), "{schema} {wrong}");
        }
    }
    // Values have it where no name could be meant.
    let closed = r#"{ "type": "object", "properties": { "a": { "const": "\u0001" } }, "additionalProperties": false }"#;
    assert!(matches("json_schema", closed, r#"{"a":"\u0001"}"#));
    assert!(matches("json_schema", r#"{ "type": "string" }"#, r#""\u0001\u001f""#));
    for wrong in [r#"{"b\n":1}"#, r#"{"b\u000a":1}"#, r#"{"b\u000A":1}"#] {
        assert!(!matches("json_schema", named, wrong), "{wrong}");
    }
}

#[test]
fn white_space_is_what_people_write_and_ends() {
    let schema = r#"{ "type": "object", "properties": { "a": {} }, "required": ["a"] }"#;
    let lark = format!("start: \"call \" %json {schema} | \"any \" %json true \"!\"");
    for gap in ["", " ", "  ", "\t", "\n", "\r\n", "\n\n", "\n        ", "\n\t\t\t", &format!("\n{}", " ".repeat(20))] {
        let answer = format!("{{{gap}\"a\":{gap}[{gap}1,{gap}{{}}]{gap}}}");
        assert!(matches("json_schema", schema, &answer), "{answer:?}");
        assert!(matches("json_object", "", &answer), "{answer:?}");
        assert!(matches("lark", &lark, &format!("call {answer}")), "{answer:?}");
        assert!(matches("lark", &lark, &format!("any {answer}!")), "{answer:?}");
    }
    for gap in ["   ", "\t\t\t", "\n\n\n", " \n ", &format!("\n{}", " ".repeat(21))] {
        let answer = format!("{{\"a\":{gap}1}}");
        assert!(!matches("json_schema", schema, &answer), "{answer:?}");
        assert!(!matches("json_object", "", &answer), "{answer:?}");
        assert!(!matches("lark", &lark, &format!("call {answer}")), "{answer:?}");
    }
}

#[test]
fn every_kind_of_grammar_matches_whole_answers() {
    assert!(matches("json_object", "", r#"{"a":[1,{"b":null}]}"#));
    assert!(!matches("json_object", "", "[1]"));
    assert!(matches("regex", "^[ab]+c$", "abc"));
    assert!(!matches("regex", "[ab]+c", "ab"));
    assert!(matches("regex", r"a/b\\", r"a/b\"));
    assert!(matches("regex", r"a\$", "a$"));
    assert!(matches("lark", "start: \"a\" start? \"b\"", "aabb"));
    assert!(!matches("lark", "start: \"a\" start? \"b\"", "aab"));
    for choice in ["yes", "no", "a/b \"quoted\"\n", "yes, \u{e9}\u{1f600}", "(x|y)*"] {
        let list = r#"["yes", "no", "a/b \"quoted\"\n", "yes, é😀", "(x|y)*"]"#;
        assert!(matches("choice", list, choice), "{choice}");
        assert!(!matches("choice", list, &format!("{choice}!")));
    }
}

#[test]
fn a_grammar_with_left_recursion_works() {
    let sum = "start: sum\nsum: sum \"+\" NUMBER | NUMBER\nNUMBER: /[0-9]+/";
    assert!(matches("lark", sum, "1+22+3"));
    assert!(!matches("lark", sum, "1+"));
}

#[test]
fn the_mask_has_the_bits_of_what_commit_accepts() {
    let mut matcher = matcher("json_schema", PERSON);
    for byte in "{\"name\":\"".bytes() {
        let allowed = allowed(&mut matcher);
        for token in 0..TOKENS as u32 {
            let mut trial = matcher.fork();
            assert_eq!(trial.commit(token).is_ok(), allowed.contains(&token), "token {token} before {}", byte as char);
        }
        matcher.commit(byte.into()).expect("the text is valid");
    }
}

#[test]
fn special_tokens_match_no_text_and_the_end_token_only_an_end() {
    let mut matcher = matcher("regex", "(?s:.*)");
    let open = allowed(&mut matcher);
    assert!(!open.contains(&TOOL) && open.contains(&END));
    feed(&mut matcher, "<|tool|>").expect("the characters of a special token are text");
    matcher.commit(END).expect("an answer may end");
    assert!(matcher.is_stopped());
}

#[test]
fn a_rejected_token_leaves_the_state() {
    let mut matcher = matcher("choice", r#"["ab", "ac"]"#);
    for token in [b'b' as u32, END, TOKENS as u32, u32::MAX] {
        assert_eq!(matcher.commit(token).unwrap_err().code, Code::Rejected);
    }
    feed(&mut matcher, "ac").expect("the answer is valid");
    assert!(matcher.is_stopped() && matcher.is_accepting().unwrap());
    assert_eq!(matcher.commit(b'a'.into()).unwrap_err().code, Code::Rejected);
    assert_eq!(allowed(&mut matcher), [END]);
    matcher.commit(END).expect("an end token may follow a complete answer");
}

#[test]
fn rollback_goes_back_over_ends_and_no_further_than_the_start() {
    let mut matcher = matcher("choice", r#"["ab", "ac", "a"]"#);
    feed(&mut matcher, "ab").unwrap();
    matcher.commit(END).unwrap();
    matcher.rollback(2).unwrap();
    assert!(!matcher.is_stopped());
    feed(&mut matcher, "c").unwrap();
    assert_eq!(matcher.rollback(3).unwrap_err().code, Code::Rejected);
    matcher.rollback(1).unwrap();
    matcher.commit(END).unwrap();
    assert!(matcher.is_stopped());
    matcher.rollback(2).unwrap();
    assert_eq!(allowed(&mut matcher), [b'a' as u32]);
}

#[test]
fn forks_and_matchers_of_one_grammar_go_their_own_ways() {
    let grammar = compile("choice", r#"["ab", "cd"]"#).unwrap();
    let mut first = grammar.matcher();
    feed(&mut first, "a").unwrap();
    let mut fork = first.fork();
    feed(&mut fork, "b").unwrap();
    assert!(fork.is_stopped() && !first.is_stopped());
    feed(&mut grammar.matcher(), "cd").unwrap();
    feed(&mut first, "b").unwrap();
}

#[test]
fn forced_tokens_are_the_tokenizers_own() {
    assert_eq!(matcher("choice", r#"["true"]"#).forced(), Vec::<u32>::new());
    let vocabulary = forcing();
    let choices = r#"["{\"name\":true, 12", "{\"name\":true, 13"]"#;
    let mut matcher = Grammar::compile(&vocabulary, "choice", choices, &Limits::default()).unwrap().matcher();
    let forced = matcher.forced();
    // The last space and digit may still become one token with what follows.
    let all = longest(&texts(), b"{\"name\":true, 1");
    assert!(!forced.is_empty() && all.starts_with(&forced), "{forced:?} of {all:?}");
    for token in &forced {
        assert!(allowed(&mut matcher).contains(token));
        matcher.commit(*token).unwrap();
    }
    assert_eq!(matcher.forced(), Vec::<u32>::new());
    assert!(allowed(&mut matcher).len() > 1);
}

#[test]
fn a_tokenizer_that_gives_other_text_is_not_believed() {
    let texts = texts();
    let wrong: [foretoken_guide::Tokenize; 3] =
        [Box::new(|_| vec![]), Box::new(|_| vec![b'x' as u32]), Box::new(|_| vec![u32::MAX, 7])];
    for tokenize in wrong {
        let mut offsets = vec![0];
        offsets.extend(texts.iter().scan(0, |end, text| {
            *end += text.len() as u32;
            Some(*end)
        }));
        let vocabulary =
            foretoken_guide::Vocabulary::new(&texts.concat(), &offsets, &[0; TOKENS], &[END], Some(tokenize)).unwrap();
        let grammar = Grammar::compile(&vocabulary, "choice", r#"["true!"]"#, &Limits::default()).unwrap();
        let forced = grammar.matcher().forced();
        assert!(longest(&texts, b"true!").starts_with(&forced), "{forced:?}");
    }
}

#[test]
fn compact_json_has_no_white_space_and_forces_more() {
    let schema = r#"{ "type": "object", "properties": { "name": { "type": "boolean" } }, "required": ["name"],
        "additionalProperties": false }"#;
    let limits = Limits { compact: true, ..Limits::default() };
    let vocabulary = forcing();
    let compile = |limits: &Limits| Grammar::compile(&vocabulary, "json_schema", schema, limits).unwrap().matcher();
    assert!(feed(&mut compile(&limits), r#"{"name":true}"#).is_ok());
    assert_eq!(feed(&mut compile(&limits), r#"{ "name":true}"#), Err(1));
    assert!(compile(&limits).forced().len() > compile(&Limits::default()).forced().len());
    let any = Grammar::compile(&vocabulary, "json_object", "", &limits).unwrap();
    assert_eq!(feed(&mut any.matcher(), "{ }"), Err(1));
    assert!(Grammar::compile(&vocabulary, "json_schema", "true", &limits).is_ok());
}
