//! Checks of a JSON schema before the engine reads it: shapes, depth and references. The engine's own messages do not
//! say where in a schema a fault is, and some of its messages quote a value in a way that panics.

use std::collections::HashSet;

use llguidance::JsonCompileOptions;
use serde_json::{Map, Value, json};

use crate::endless::is_endless;
use crate::failure::{Code, Failure};
use crate::limits::Limits;
use crate::text;

/// Keywords that constrain an answer and that the engine does not implement. To ignore them would accept answers that
/// the schema forbids.
const UNSUPPORTED: [&str; 22] = [
    "$dynamicRef",
    "$recursiveRef",
    "contains",
    "contentSchema",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "maxContains",
    "minContains",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "$dynamicAnchor",
    "$recursiveAnchor",
    "$vocabulary",
    "disallow",
    "extends",
];

const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// Largest count in a schema (`minItems`, `maxLength`, ...). The engine unrolls some of them.
const LARGEST_COUNT: u64 = 100_000;

/// Most properties of one object. Each that is optional may come next, which takes four items of a row of the engine.
const MOST_PROPERTIES: usize = 1000;

/// White space between two tokens of JSON: what people and models write, but never without end, because a model that has
/// lost its way fills an answer with blanks. Blanks after a line end indent ten levels by two, as in the grammars of llama.cpp.
const WHITE_SPACE: &str = r"[ \t]{1,2}|(\r?\n){1,2}[ \t]{0,20}";

/// Escapes of strings; `u` is for control characters without a letter of their own.
const ESCAPES: &str = r#"nrbtf\"u"#;

/// Escapes by which each text is written in one way only.
const EXACT_ESCAPES: &str = r#"nrbtf\""#;

/// Sets how the engine writes the answers to a schema. `true`, which has no place for that, becomes the empty object,
/// which means the same; to `false` there is no answer.
pub fn set_writing(schema: &mut Value, limits: &Limits) {
    if *schema == Value::Bool(true) {
        *schema = Value::Object(Map::new());
    }
    if schema.is_object() {
        let white_space = if limits.compact { None } else { Some(WHITE_SPACE.to_string()) };
        let escapes = if tells_names_apart(schema) { EXACT_ESCAPES } else { ESCAPES };
        let options = JsonCompileOptions {
            whitespace_flexible: false,
            whitespace_pattern: white_space,
            json_allowed_escapes: Some(escapes.to_string()),
            ..JsonCompileOptions::default()
        };
        options.apply_to(schema);
    }
}

/// Whether a part gives some names a schema of their own beside further names. The engine then compares names as they are
/// written, so that `\u0061` would pass for another name than `a`.
fn tells_names_apart(part: &Value) -> bool {
    match part {
        Value::Object(members) => {
            let has =
                |keyword: &str| members.get(keyword).is_some_and(|value| *value != json!({}) && *value != json!([]));
            let closed = members.get("additionalProperties") == Some(&Value::Bool(false));
            has("patternProperties")
                || !closed && (has("properties") || has("required"))
                || members.values().any(tells_names_apart)
        }
        Value::Array(items) => items.iter().any(tells_names_apart),
        _ => false,
    }
}

/// Parses a document, bounded in depth.
pub fn parse(text: &str, limits: &Limits) -> Result<Value, Failure> {
    let document: Value = serde_json::from_str(text).map_err(|error| match error.to_string() {
        message if message.contains("recursion limit") => too_deep(limits),
        message => Failure::new(Code::Invalid, format!("the schema is not JSON: {message}")),
    })?;
    Ok(document)
}

/// Checks all that is reached from the root, references included.
pub fn check(document: &Value, limits: &Limits) -> Result<(), Failure> {
    if depth(document) > limits.depth {
        return Err(too_deep(limits));
    }
    if let Some(value) = document.get("x-guidance") {
        return Err(unsupported("x-guidance", value).at("/x-guidance"));
    }
    let mut walk = Walk { document, limits, seen: HashSet::new(), pending: vec![String::new()] };
    while let Some(path) = walk.pending.pop() {
        if walk.seen.insert(path.clone()) {
            let schema = document.pointer(&path).expect("a pending path was resolved");
            walk.schema(&path, schema)?;
        }
    }
    if is_endless(document, &walk.seen) {
        return Err(Failure::new(Code::Unsatisfiable, "no answer to this schema ever ends: it requires itself").at(""));
    }
    Ok(())
}

fn too_deep(limits: &Limits) -> Failure {
    Failure::new(Code::Limit, format!("a schema may be nested {} deep", limits.depth))
}

/// The parser has bounded the depth to 128 before.
fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    1 + inner.unwrap_or(0)
}

fn unsupported(keyword: &str, _: &Value) -> Failure {
    Failure::new(Code::Unsupported, format!("the keyword {keyword:?} is not supported"))
}

struct Walk<'a> {
    document: &'a Value,
    limits: &'a Limits,
    seen: HashSet<String>,
    pending: Vec<String>,
}

impl Walk<'_> {
    fn schema(&mut self, path: &str, schema: &Value) -> Result<(), Failure> {
        match schema {
            Value::Bool(_) => Ok(()),
            Value::Object(members) => {
                for (keyword, value) in members {
                    let at = format!("{path}/{}", escape(keyword));
                    self.keyword(&at, keyword, value).map_err(|failure| match failure.path {
                        None => failure.at(at),
                        Some(_) => failure,
                    })?;
                }
                Ok(())
            }
            _ => Err(invalid("a schema is an object or a boolean").at(path)),
        }
    }

    /// Failures without a path are the keyword's.
    fn keyword(&mut self, path: &str, keyword: &str, value: &Value) -> Result<(), Failure> {
        match keyword {
            "type" => one_type(value),
            "properties" => match object(value)?.len() {
                count if count > MOST_PROPERTIES => {
                    let message = format!("an object may have {MOST_PROPERTIES} properties, this one has {count}");
                    Err(Failure::new(Code::Limit, message))
                }
                _ => self.schemas_by_name(path, value),
            },
            "patternProperties" => {
                for (pattern, schema) in object(value)? {
                    let at = format!("{path}/{}", escape(pattern));
                    text::check_regex(pattern, self.limits).map_err(|failure| failure.at(at.clone()))?;
                    self.schema(&at, schema)?;
                }
                Ok(())
            }
            "items" if value.is_array() => self.schemas(path, value),
            "items" | "additionalItems" | "additionalProperties" => self.schema(path, value),
            "prefixItems" => self.schemas(path, value),
            "allOf" | "anyOf" | "oneOf" => match array(value)?.is_empty() {
                true => Err(invalid("the list is empty")),
                false => self.schemas(path, value),
            },
            "enum" => match array(value)?.is_empty() {
                true => Err(Failure::new(Code::Unsatisfiable, "the list is empty")),
                false => Ok(()),
            },
            "required" => match array(value)?.iter().all(Value::is_string) {
                true => Ok(()),
                false => Err(invalid("a list of strings is expected")),
            },
            "$ref" => self.reference(value),
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => count(value),
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => match value.is_number() {
                true => Ok(()),
                false => Err(invalid("a number is expected")),
            },
            "multipleOf" => match value.as_f64() {
                Some(factor) if factor > 0.0 => Ok(()),
                _ => Err(invalid("a number above 0 is expected")),
            },
            "pattern" => text::check_regex(string(value)?, self.limits),
            "format" | "$schema" | "$id" | "id" | "$anchor" => string(value).map(|_| ()),
            _ if UNSUPPORTED.contains(&keyword) => Err(unsupported(keyword, value)),
            _ => Ok(()),
        }
    }

    fn schemas(&mut self, path: &str, value: &Value) -> Result<(), Failure> {
        let list = array(value)?;
        list.iter().enumerate().try_for_each(|(index, schema)| self.schema(&format!("{path}/{index}"), schema))
    }

    fn schemas_by_name(&mut self, path: &str, value: &Value) -> Result<(), Failure> {
        object(value)?.iter().try_for_each(|(name, schema)| self.schema(&format!("{path}/{}", escape(name)), schema))
    }

    fn reference(&mut self, value: &Value) -> Result<(), Failure> {
        let reference = string(value)?;
        let Some(pointer) = reference.strip_prefix('#') else {
            let message = format!("the reference {reference:?} leads out of the schema; nothing is fetched");
            return Err(Failure::new(Code::Unsupported, message));
        };
        let pointer = if pointer == "/" { "" } else { pointer };
        if !pointer.is_empty() && (!pointer.starts_with('/') || pointer.contains(['~', '%'])) {
            let message = format!("the reference {reference:?} is not a plain path such as \"#/$defs/name\"");
            return Err(Failure::new(Code::Unsupported, message));
        }
        if self.document.pointer(pointer).is_none() {
            return Err(invalid(&format!("the reference {reference:?} leads to nothing")));
        }
        self.pending.push(pointer.to_string());
        Ok(())
    }
}

fn invalid(message: &str) -> Failure {
    Failure::new(Code::Invalid, message)
}

fn one_type(value: &Value) -> Result<(), Failure> {
    let known = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    let valid = match value {
        Value::Array(names) => !names.is_empty() && names.iter().all(known),
        name => known(name),
    };
    if valid { Ok(()) } else { Err(invalid(&format!("a type, or a list of types, is expected: {}", TYPES.join(", ")))) }
}

fn count(value: &Value) -> Result<(), Failure> {
    match value.as_u64() {
        Some(count) if count <= LARGEST_COUNT => Ok(()),
        Some(count) => Err(Failure::new(Code::Limit, format!("a count may be {LARGEST_COUNT}, not {count}"))),
        None => Err(invalid("a whole number of 0 or more is expected")),
    }
}

fn object(value: &Value) -> Result<&Map<String, Value>, Failure> {
    value.as_object().ok_or_else(|| invalid("an object is expected"))
}

fn array(value: &Value) -> Result<&Vec<Value>, Failure> {
    value.as_array().ok_or_else(|| invalid("a list is expected"))
}

fn string(value: &Value) -> Result<&str, Failure> {
    value.as_str().ok_or_else(|| invalid("a string is expected"))
}

/// A member's name as a part of a JSON pointer.
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
