//! Random schemas and grammars: each compiles or fails with a code, and none makes the engine panic.

mod common;

use common::*;
use foretoken_guide::{Code, Grammar, Limits};
use serde_json::{Value, json};

/// Numbers that follow from a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    fn value(&mut self, depth: usize) -> Value {
        let numbers = [0.0, 1.0, -1.0, 0.1, 1e300, -1e-300, 9007199254740993.0, 0.3333333333333333];
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.below(20) as i64 - 5),
            3 => json!(self.pick(&numbers)),
            4 => json!(self.pick(&[
                "",
                "é\u{1f600}",
                "#",
                "#/$defs/a",
                "string",
                "date",
                "^a*$",
                "\u{0}\"\\",
                "(",
                "[a-"
            ])),
            5 => json!(u64::MAX - self.below(2) as u64),
            6 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => (0..self.below(4))
                .map(|_| (self.pick(&["a", "", "é", "$ref"]).to_string(), self.value(depth - 1)))
                .collect(),
        }
    }

    fn schema(&mut self, depth: usize) -> Value {
        let keywords = [
            "type",
            "properties",
            "patternProperties",
            "required",
            "items",
            "prefixItems",
            "additionalProperties",
            "anyOf",
            "oneOf",
            "allOf",
            "enum",
            "const",
            "$ref",
            "minItems",
            "maxItems",
            "minLength",
            "maxLength",
            "minProperties",
            "maxProperties",
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
            "pattern",
            "format",
            "additionalItems",
            "$schema",
            "$id",
        ];
        let types = ["null", "boolean", "integer", "number", "string", "array", "object"];
        let mut schema = serde_json::Map::new();
        for _ in 0..1 + self.below(4) {
            let keyword = self.pick(&keywords);
            let inner = depth.saturating_sub(1);
            let value = match keyword {
                _ if self.below(12) == 0 => self.value(2),
                "type" => json!(self.pick(&types)),
                "properties" | "patternProperties" if depth > 0 => (0..self.below(4))
                    .map(|_| (self.pick(&["a", "b", "é", "^a", "b+"]).to_string(), self.schema(inner)))
                    .collect(),
                "anyOf" | "oneOf" | "allOf" | "prefixItems" if depth > 0 => {
                    (0..1 + self.below(3)).map(|_| self.schema(inner)).collect()
                }
                "items" | "additionalProperties" | "additionalItems" if depth > 0 => self.schema(inner),
                "enum" => (0..1 + self.below(3)).map(|_| self.value(2)).collect(),
                "required" => json!([self.pick(&["a", "b", "é"])]),
                "$ref" => json!(self.pick(&["#", "#/$defs/a", "#/$defs/b"])),
                "pattern" => json!(self.pick(&["^a*$", "b", "^(a|b){2,3}$", "\\p{L}+", "[^a]", "a{0}", "$^"])),
                "format" => json!(self.pick(&["date", "uuid", "email", "ipv6", "uri"])),
                "const" => self.value(2),
                "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => loop {
                    let value = self.value(0);
                    if value.is_number() {
                        break value;
                    }
                },
                _ => json!(self.below(6)),
            };
            schema.insert(keyword.to_string(), value);
        }
        Value::Object(schema)
    }
}

#[test]
fn no_schema_makes_the_engine_panic() {
    let seed = 0x5eed_0001;
    println!("seed {seed}");
    let mut random = Random(seed);
    let vocabulary = vocabulary();
    let limits = Limits { compile_fuel: 20_000, ..Limits::default() };
    let mut compiled = 0;
    for _ in 0..3000 {
        let mut schema = random.schema(3);
        schema["$defs"] = json!({ "a": random.schema(2), "b": random.schema(1) });
        let text = schema.to_string();
        let result = Grammar::compile(&vocabulary, "json_schema", &text, &limits).and_then(|grammar| {
            compiled += 1;
            let mut matcher = grammar.matcher();
            let mut mask = vec![0; TOKENS.div_ceil(32)];
            for _ in 0..12 {
                if !matcher.mask(&mut mask)? || matcher.is_stopped() {
                    break;
                }
                let open: Vec<u32> =
                    (0..TOKENS as u32).filter(|token| mask[*token as usize / 32] >> (token % 32) & 1 == 1).collect();
                matcher.commit(random.pick(&open))?;
            }
            Ok(())
        });
        if let Err(failure) = result {
            assert!(!failure.message.contains("panic"), "{failure} for {text}");
            assert!(failure.path.is_some() || failure.code != Code::Invalid, "{failure} for {text}");
        }
    }
    assert!(compiled > 300, "only {compiled} of 3000 schemas compile");
}

#[test]
fn no_grammar_or_regex_makes_the_engine_panic() {
    let seed = 0x5eed_0002;
    println!("seed {seed}");
    let mut random = Random(seed);
    let vocabulary = vocabulary();
    let limits = Limits { compile_fuel: 20_000, ..Limits::default() };
    let parts = [
        "start: ",
        "\n",
        "a",
        "A",
        ": ",
        "\"x\"",
        "/[a-z]+/",
        "(",
        ")",
        "?",
        "*",
        "+",
        "{2,3}",
        "{0}",
        "|",
        " ",
        "%json ",
        "{}",
        "%regex {\"substring_chars\": \"é\"}",
        "%ignore ",
        "%llguidance {}",
        "<|tool|>",
        "<[265]>",
        "<[4-9999999]>",
        "[stop=\"x\"]",
        "-> b",
        "\"é\"i",
        "&",
        "~",
        "%import common.INT",
        "\\",
        "[^",
        "]",
        "^",
        "$",
        "\\p{L}",
        ".",
        "{99999999999}",
        "@x",
        "%lark { start: \"x\" }",
        "..",
        "/",
        "é",
        "[capture]",
        "[max_tokens=3]",
    ];
    for round in 0..4000 {
        let kind = ["lark", "regex"][round % 2];
        let mut text = String::from(if kind == "lark" { "start: a\na: " } else { "" });
        for _ in 0..1 + random.below(8) {
            text.push_str(random.pick(&parts));
        }
        if let Err(failure) = Grammar::compile(&vocabulary, kind, &text, &limits) {
            assert!(!failure.message.contains("panic"), "{failure} for {kind} {text:?}");
        }
    }
}
