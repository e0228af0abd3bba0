//! Grammars that mean harm, and limits at their edges.

mod common;

use std::time::Instant;

use common::*;
use foretoken_guide::{Code, Failure, Grammar, Limits};
use serde_json::{Value, json};

fn refused(kind: &str, text: &str) -> Failure {
    let start = Instant::now();
    let result = compile(kind, text);
    println!("{:?} for {kind} {:.60}", start.elapsed(), text.replace('\n', " "));
    let failure = result.err().unwrap_or_else(|| panic!("{kind} compiles: {text:.200}"));
    assert!(!failure.message.contains("panic"), "{failure}");
    failure
}

fn refused_at(schema: Value, code: Code, path: &str) {
    let failure = refused("json_schema", &schema.to_string());
    assert_eq!((failure.code, failure.path.as_deref()), (code, Some(path)), "{failure} for {schema}");
}

#[test]
fn faults_of_a_schema_have_a_code_and_a_path() {
    use Code::*;
    refused_at(json!(7), Invalid, "");
    refused_at(json!({ "type": "strin" }), Invalid, "/type");
    refused_at(json!({ "type": [] }), Invalid, "/type");
    refused_at(json!({ "properties": { "a/b~": { "type": 1 } } }), Invalid, "/properties/a~1b~0/type");
    refused_at(json!({ "properties": [] }), Invalid, "/properties");
    refused_at(json!({ "required": [1] }), Invalid, "/required");
    refused_at(json!({ "minItems": -1 }), Invalid, "/minItems");
    refused_at(json!({ "minLength": "é".repeat(80) }), Invalid, "/minLength");
    refused_at(json!({ "pattern": "é".repeat(80) + "(" }), Invalid, "/pattern");
    refused_at(json!({ "pattern": 1 }), Invalid, "/pattern");
    refused_at(json!({ "format": { "é": "é".repeat(80) } }), Invalid, "/format");
    refused_at(json!({ "anyOf": [] }), Invalid, "/anyOf");
    refused_at(json!({ "enum": [] }), Unsatisfiable, "/enum");
    refused_at(json!({ "multipleOf": 0 }), Invalid, "/multipleOf");
    refused_at(json!({ "items": { "not": {} } }), Unsupported, "/items/not");
    refused_at(json!({ "x-guidance": { "lenient": true } }), Unsupported, "/x-guidance");
    refused_at(json!({ "$ref": 5 }), Invalid, "/$ref");
    refused_at(json!({ "$ref": "#/$defs/none" }), Invalid, "/$ref");
    refused_at(json!({ "$ref": "https://example.com/schema.json" }), Unsupported, "/$ref");
    refused_at(json!({ "$ref": "other.json#/a" }), Unsupported, "/$ref");
    refused_at(json!({ "$ref": "#name" }), Unsupported, "/$ref");
    let behind =
        json!({ "$defs": { "a": { "items": { "$ref": "#/$defs/b" } }, "b": { "if": true } }, "$ref": "#/$defs/a" });
    refused_at(behind, Unsupported, "/$defs/b/if");
    assert_eq!(refused("json_schema", "{").code, Invalid);
    assert_eq!(refused("json_schema", "").code, Invalid);
    assert_eq!(refused("xml", "").code, Unsupported);
}

#[test]
fn faults_that_the_engine_finds_are_located() {
    use Code::*;
    let wrap = |part: Value| json!({ "type": "object", "properties": { "ok": { "type": "string" }, "bad": part } });
    refused_at(wrap(json!({ "type": "string", "format": "color" })), Unsupported, "/properties/bad");
    refused_at(
        wrap(json!({ "type": "array", "items": { "pattern": "a(?=b)" } })),
        Invalid,
        "/properties/bad/items/pattern",
    );
    let overlap = json!({ "oneOf": [{ "type": "string" }, { "type": "string", "minLength": 2 }] });
    refused_at(
        wrap(json!({ "prefixItems": [{ "type": "null" }, overlap], "minItems": 2, "items": false })),
        Unsupported,
        "/properties/bad/prefixItems/1",
    );
    let clash = json!({ "$defs": { "n": { "type": "integer", "minimum": 5, "maximum": 4 } }, "type": "object",
        "properties": { "n": { "$ref": "#/$defs/n" } }, "required": ["n"] });
    refused_at(clash, Unsatisfiable, "/$defs/n");
}

#[test]
fn definitions_that_nothing_refers_to_are_not_read() {
    assert!(compile("json_schema", r#"{ "type": "null", "$defs": { "unused": { "not": {} } } }"#).is_ok());
}

#[test]
fn cycles_of_references_end() {
    let tree = json!({ "type": "object", "properties": { "next": { "$ref": "#" } }, "additionalProperties": false });
    assert!(matches("json_schema", &tree.to_string(), r#"{"next":{"next":{}}}"#));
    let list = json!({ "type": "array", "items": { "$ref": "#" }, "minItems": 0 });
    assert!(matches("json_schema", &list.to_string(), "[[],[[]]]"));
    let either = json!({ "$ref": "#/$defs/a", "$defs": { "a": { "anyOf": [{ "$ref": "#/$defs/b" }, { "type": "null" }] },
        "b": { "type": "object", "properties": { "a": { "$ref": "#/$defs/a" } }, "required": ["a"] } } });
    assert!(matches("json_schema", &either.to_string(), r#"{"a":{"a":null}}"#));
    for endless in [
        json!({ "type": "object", "properties": { "a": { "$ref": "#" } }, "required": ["a"] }),
        json!({ "type": "array", "items": { "$ref": "#" }, "minItems": 1 }),
        json!({ "type": ["array"], "prefixItems": [{ "type": "null" }, { "$ref": "#/" }], "minItems": 2 }),
        json!({ "anyOf": [{ "$ref": "#/$defs/b" }, { "$ref": "#" }], "$defs": { "b": { "allOf": [{ "$ref": "#/$defs/b" }] } } }),
    ] {
        refused_at(endless, Code::Unsatisfiable, "");
    }
    for cycle in [
        json!({ "$ref": "#" }),
        json!({ "allOf": [{ "$ref": "#" }] }),
        json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
        json!({ "anyOf": [{ "$ref": "#/$defs/a" }], "$defs": { "a": { "allOf": [{ "$ref": "#/$defs/a" }, { "type": "object" }] } } }),
    ] {
        let failure = refused("json_schema", &cycle.to_string());
        assert!(matches!(failure.code, Code::Unsatisfiable | Code::Limit | Code::Unsupported), "{failure}");
    }
}

#[test]
fn size_is_limited_in_bytes() {
    let limits = Limits::default();
    let schema = |bytes: usize| {
        let rest = r#"{"type":"null","description":""}"#;
        rest.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - rest.len())))
    };
    assert_eq!(schema(limits.bytes).len(), limits.bytes);
    assert!(compile("json_schema", &schema(limits.bytes)).is_ok());
    assert_eq!(refused("json_schema", &schema(limits.bytes + 1)).code, Code::Limit);
    assert_eq!(refused("json_schema", &schema(1 << 20)).code, Code::Limit);
    for kind in ["json_object", "choice", "regex", "lark"] {
        assert_eq!(refused(kind, &"x".repeat(limits.bytes + 1)).code, Code::Limit);
    }
}

/// A schema whose values are nested `depth` deep.
fn nested(depth: usize) -> String {
    let levels = (depth - 1) / 2;
    let mut text = "{\"items\":".repeat(levels) + "{}" + &"}".repeat(levels);
    if depth - 1 > levels {
        text = format!("{{\"allOf\":[{}]}}", text);
    }
    text
}

#[test]
fn depth_is_limited() {
    let limits = Limits::default();
    let deep = |depth: usize| "{\"items\":".repeat(depth - 1) + "{}" + &"}".repeat(depth - 1);
    assert!(compile("json_schema", &deep(limits.depth)).is_ok());
    for depth in [limits.depth + 1, 127, 128, 200, 20_000] {
        assert_eq!(refused("json_schema", &deep(depth)).code, Code::Limit, "{depth}");
    }
    assert_eq!(refused("json_schema", &nested(400)).code, Code::Limit);
    let brackets = |depth: usize| "(".repeat(depth) + "a" + &")".repeat(depth);
    // Rules of Lark have a limit of the engine's, too, which is lower.
    for (kind, around, fits) in [
        ("regex", ["", ""], limits.depth),
        ("lark", ["start: /", "/"], limits.depth),
        ("lark", ["start: ", "\na: \"x\""], 16),
    ] {
        let text = |depth: usize| around[0].to_string() + &brackets(depth) + around[1];
        assert_eq!(compile(kind, &text(fits)).err(), None);
        for depth in [limits.depth + 1, 200, 100_000] {
            assert_eq!(refused(kind, &text(depth)).code, Code::Limit, "{kind} {depth}");
        }
    }
    assert_eq!(refused("lark", &format!("start: {}\na: \"x\"", brackets(limits.depth))).code, Code::Limit);
    let embedded = |schema: &str| format!("start: %json {schema}");
    assert!(compile("lark", &embedded(&deep(limits.depth))).is_ok());
    assert_eq!(refused("lark", &embedded(&deep(limits.depth + 1))).code, Code::Limit);
    assert_eq!(refused("lark", &embedded(r#"{ "$ref": ["é"] }"#)).code, Code::Invalid);
}

#[test]
fn fuel_and_symbols_are_limited() {
    let regex = "(a|b)*a(a|b){12}c";
    let run = |limits: &Limits| {
        let mut matcher = Grammar::compile(&vocabulary(), "regex", regex, limits)?.matcher();
        let mut mask = vec![0; TOKENS.div_ceil(32)];
        "aabbabababbbac".bytes().try_for_each(|byte| {
            matcher.mask(&mut mask)?;
            matcher.commit(byte.into())
        })
    };
    assert_eq!(run(&Limits::default()), Ok(()));
    let small = [
        Limits { compile_fuel: 10, ..Limits::default() },
        Limits { step_fuel: 1, ..Limits::default() },
        Limits { symbols: 1, ..Limits::default() },
    ];
    for limits in small {
        let failure = run(&limits).expect_err("the limit is too small");
        assert_eq!(failure.code, Code::Limit, "{failure} under {limits:?}");
    }
}

#[test]
fn a_regex_that_explodes_is_refused_or_held_to_its_fuel() {
    for regex in [
        "(a{1000}){1000}",
        "((a{1,1000}){1,1000}){1,1000}",
        "(a|b)*a(a|b){3000}",
        "(x+x+)+y",
        "((a*)*)*",
        ".{0,100000}a.{0,100000}",
        "(?:(?:a|aa|aaa|b)*c){50}",
        r"(\p{L}|\p{N}){200,400}\p{Lu}",
        "(a?){500}a{500}",
    ] {
        let start = Instant::now();
        match compile("regex", regex) {
            Err(failure) => assert!(matches!(failure.code, Code::Limit | Code::Invalid), "{failure}"),
            Ok(grammar) => {
                let mut matcher = grammar.matcher();
                for byte in "aaaaaaaaaaaaaaaaaaaabababababababab".bytes() {
                    let mut mask = vec![0; TOKENS.div_ceil(32)];
                    match matcher.mask(&mut mask).and_then(|_| matcher.commit(byte.into())) {
                        Ok(()) => {}
                        Err(failure) => {
                            assert!(matches!(failure.code, Code::Limit | Code::Rejected), "{failure}");
                            break;
                        }
                    }
                }
            }
        }
        println!("{:?} {regex}", start.elapsed());
    }
}

#[test]
fn a_step_that_exceeds_its_limit_ends_the_answer_alone() {
    let limits = Limits { states: 40, ..Limits::default() };
    let grammar = Grammar::compile(&vocabulary(), "regex", "(a|b)*a(a|b){12}c", &limits).unwrap();
    let mut lost = grammar.matcher();
    let failure = (0..64)
        .find_map(|step| {
            let mut mask = vec![0; TOKENS.div_ceil(32)];
            lost.mask(&mut mask).and_then(|_| lost.commit((b'a' + (step % 3 == 0) as u8).into())).err()
        })
        .expect("the states run out");
    assert_eq!(failure.code, Code::Limit, "{failure}");
    assert_eq!(lost.is_accepting().unwrap_err().code, Code::Limit);
    assert_eq!(lost.commit(0).unwrap_err().code, Code::Limit);
    assert_eq!(lost.rollback(1).unwrap_err().code, Code::Limit);
    assert!(lost.is_stopped() && lost.forced().is_empty());
    let mut other = grammar.matcher();
    feed(&mut other, "ab").unwrap();
}

#[test]
fn large_counts_are_limited() {
    for keyword in ["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"] {
        refused_at(json!({ keyword: 100_001 }), Code::Limit, &format!("/{keyword}"));
        refused_at(json!({ keyword: u64::MAX }), Code::Limit, &format!("/{keyword}"));
        let start = Instant::now();
        let result = compile("json_schema", &json!({ keyword: 100_000 }).to_string());
        println!("{:?} {keyword} {:?}", start.elapsed(), result.err());
    }
}

#[test]
fn wide_schemas_and_lists_end() {
    let many = |count: usize, part: &dyn Fn(usize) -> Value| {
        (0..count).map(|index| (format!("p{index}"), part(index))).collect::<serde_json::Map<_, _>>()
    };
    let wide = json!({ "type": "object", "properties": many(1000, &|_| json!({ "type": "string", "maxLength": 10 })) });
    let chain = json!({ "$ref": "#/p0", "p60": { "type": "integer" } });
    let mut chain = chain.as_object().unwrap().clone();
    for index in 0..60 {
        let next = json!({ "$ref": format!("#/p{}", index + 1) });
        chain.insert(format!("p{index}"), json!({ "allOf": [next, next] }));
    }
    let words: Vec<String> = (0..20_000).map(|index| format!("w{}", index * 7919 % 65_537)).collect();
    let unions: Vec<Value> = (0..4000)
        .map(|index| json!({ "type": "object", "properties": { format!("k{index}"): { "type": "integer" } } }))
        .collect();
    assert_eq!(refused("json_schema", &json!({ "anyOf": unions }).to_string()).code, Code::Limit);
    for (name, kind, text) in [
        ("wide", "json_schema", wide.to_string()),
        ("chain", "json_schema", Value::Object(chain).to_string()),
        ("enum", "json_schema", json!({ "enum": words }).to_string()),
        ("choice", "choice", json!(words).to_string()),
    ] {
        let start = Instant::now();
        let result = compile(kind, &text);
        println!("{name}: {:?} {:?}", start.elapsed(), result.as_ref().err());
        if let Ok(grammar) = &result {
            let start = Instant::now();
            let mut matcher = grammar.matcher();
            let at = start.elapsed();
            allowed(&mut matcher);
            println!("{name}: matcher {at:?}, mask {:?}", start.elapsed() - at);
        }
        if let Err(failure) = result {
            assert_eq!(failure.code, Code::Limit, "{name}: {failure}");
        }
    }
}

#[test]
fn a_wide_object_that_compiles_can_be_answered() {
    for count in [10, 1000] {
        let properties: serde_json::Map<_, _> =
            (0..count).map(|index| (format!("p{index}"), json!({ "type": "integer" }))).collect();
        let schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        let grammar = compile("json_schema", &schema.to_string()).expect("the schema is within the limits");
        let answer = format!("{{\"p0\": 1, \"p{}\": 2}}", count - 1);
        assert_eq!(feed(&mut grammar.matcher(), &answer), Ok(()), "{count} properties");
    }
    let properties: serde_json::Map<_, _> = (0..1001).map(|index| (format!("p{index}"), json!({}))).collect();
    refused_at(json!({ "items": { "properties": properties } }), Code::Limit, "/items/properties");
}

#[test]
fn long_forced_text_is_held_to_limits() {
    let vocabulary = forcing();
    for (kind, text) in [
        ("regex", "(a{1000}){1000}"),
        ("regex", "((a{1000}){1000}){1000}"),
        ("regex", "(ab){400000}c"),
        ("json_schema", r#"{ "type": "string", "pattern": "^a+$", "minLength": 100000 }"#),
        ("json_schema", r#"{ "type": "array", "items": { "const": "aaaaaaaa" }, "minItems": 100000 }"#),
        ("lark", "start: A{1000}\nA: /a{1000}/"),
        ("lark", "start: b{1000}\nb: c{1000}\nc: \"a\"{1000}"),
    ] {
        let start = Instant::now();
        let result = Grammar::compile(&vocabulary, kind, text, &Limits::default()).and_then(|grammar| {
            let mut matcher = grammar.matcher();
            let forced = matcher.forced();
            assert!(forced.len() <= 256, "{}", forced.len());
            matcher.mask(&mut [0; TOKENS.div_ceil(32)])
        });
        println!("{:?} {kind} {text}: {:?}", start.elapsed(), result);
        if let Err(failure) = result {
            assert_eq!(failure.code, Code::Limit, "{failure}");
        }
    }
}
