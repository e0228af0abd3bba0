//! Finds schemas whose every answer is endless, such as an object that requires itself. The engine would begin such an
//! answer and never let it end.

use std::collections::HashSet;

use serde_json::Value;

/// A chain of references is followed this far. A longer one is taken to end.
const MOST_ROUNDS: usize = 64;

/// Returns true if no answer to the document is finite. `targets` are the JSON pointers of its root and of all that is
/// referred to.
pub fn is_endless(document: &Value, targets: &HashSet<String>) -> bool {
    let mut finite: HashSet<&str> = HashSet::new();
    for _ in 0..MOST_ROUNDS {
        let before = finite.len();
        for target in targets {
            let schema = document.pointer(target).expect("a target was resolved");
            if !finite.contains(target.as_str()) && is_finite(schema, &finite) {
                finite.insert(target);
            }
        }
        if finite.contains("") {
            return false;
        }
        if finite.len() == before {
            return true;
        }
    }
    false
}

/// Returns true if an answer to `schema` may end, given the targets known to have such answers. Where a keyword's effect is
/// not worth the analysis, the answer is taken to end.
fn is_finite(schema: &Value, finite: &HashSet<&str>) -> bool {
    let Some(members) = schema.as_object() else { return true };
    let ends = |part: &Value| is_finite(part, finite);
    let list = |name: &str| members.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if let Some(pointer) = members.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'))
        && !finite.contains(if pointer == "/" { "" } else { pointer })
    {
        return false;
    }
    if members.contains_key("enum") || members.contains_key("const") {
        return true;
    }
    let one_of_them = |name: &str| list(name).is_empty() || list(name).iter().any(ends);
    if !list("allOf").iter().all(ends) || !one_of_them("anyOf") || !one_of_them("oneOf") {
        return false;
    }
    let kind = match members.get("type") {
        Some(Value::String(name)) => name.as_str(),
        Some(Value::Array(names)) if names.len() == 1 => names[0].as_str().unwrap_or_default(),
        _ => "",
    };
    let any = Value::Bool(true);
    match kind {
        "object" => list("required").iter().filter_map(Value::as_str).all(|name| {
            let property = members.get("properties").and_then(|properties| properties.get(name));
            let others =
                if members.contains_key("patternProperties") { None } else { members.get("additionalProperties") };
            ends(property.or(others).unwrap_or(&any))
        }),
        "array" => {
            let count = members.get("minItems").and_then(Value::as_u64).unwrap_or(0) as usize;
            let first = if list("prefixItems").is_empty() { list("items") } else { list("prefixItems") };
            let rest = members.get("items").filter(|items| !items.is_array()).unwrap_or(&any);
            first.iter().take(count).all(ends) && (count <= first.len() || ends(rest))
        }
        _ => true,
    }
}
