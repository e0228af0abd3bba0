//! Finds the part of a schema that does not compile, by compiling its parts alone: the engine does not say where it
//! failed.

use std::collections::HashSet;
use std::time::Duration;

use instant::Instant;
use serde_json::{Value, json};

use crate::schema::escape;

/// How much time the search may take, and how many parts it may compile.
const PATIENCE: Duration = Duration::from_millis(250);
const MOST_TRIALS: usize = 200;

/// Where a part's references find the whole document.
const DOCUMENT: &str = "$document";

/// Returns the JSON pointer of the innermost part found to fail by itself; the root's, `""`, if none does.
pub fn failing(document: &Value, fails: impl Fn(Value) -> bool) -> String {
    let rebased = rebase(document);
    let start = Instant::now();
    let mut trials = 0;
    let mut seen = HashSet::new();
    let mut path = String::new();
    'deeper: while let Some(schema) = document.pointer(&path) {
        for child in children(&path, schema) {
            if trials == MOST_TRIALS || start.elapsed() > PATIENCE {
                return path;
            }
            if !seen.insert(child.clone()) {
                continue;
            }
            let Some(mut part) = document.pointer(&child).map(rebase) else { continue };
            let Some(members) = part.as_object_mut() else { continue };
            members.insert(DOCUMENT.to_string(), rebased.clone());
            trials += 1;
            if fails(part) {
                path = child;
                continue 'deeper;
            }
        }
        break;
    }
    path
}

/// The paths of the schemas directly below `schema`, and of the one that it refers to.
fn children(path: &str, schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let Some(members) = schema.as_object() else { return found };
    for (keyword, value) in members {
        let below = format!("{path}/{}", escape(keyword));
        match (keyword.as_str(), value) {
            ("properties" | "patternProperties", Value::Object(schemas)) => {
                found.extend(schemas.keys().map(|name| format!("{below}/{}", escape(name))));
            }
            ("items" | "prefixItems" | "allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => {
                found.extend((0..schemas.len()).map(|index| format!("{below}/{index}")));
            }
            ("items" | "additionalItems" | "additionalProperties", Value::Object(_)) => found.push(below),
            ("$ref", Value::String(reference)) => {
                found.extend(
                    reference.strip_prefix('#').map(|pointer| if pointer == "/" { "" } else { pointer }.to_string()),
                );
            }
            _ => {}
        }
    }
    found
}

/// Copies a schema so that its references lead into the document below `DOCUMENT`.
fn rebase(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(rebase).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match value.as_str().and_then(|text| text.strip_prefix('#')) {
                Some(pointer) if name == "$ref" => {
                    let pointer = if pointer == "/" { "" } else { pointer };
                    (name.clone(), json!(format!("#/{DOCUMENT}{pointer}")))
                }
                _ => (name.clone(), rebase(value)),
            })
            .collect(),
        plain => plain.clone(),
    }
}
