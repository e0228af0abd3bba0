//! The crate as JavaScript sees it.

use js_sys::{Error, Function, Reflect, Uint32Array};
use wasm_bindgen::prelude::*;

use crate::{Failure, Limits};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** How a grammar is written. `json_object` reads no text; `choice` is a JSON array of strings. */
export type GrammarKind = 'json_schema' | 'json_object' | 'choice' | 'regex' | 'lark'

/** How a grammar is compiled, and bounds on what it may cost; a default stands in for each that is absent. */
export interface GrammarOptions {
  /** Length of the schema or grammar, in bytes of UTF-8. Default: 262144. */
  bytes?: number
  /** Nesting of a schema's values, or of brackets in a grammar or regex. Default: 64. */
  depth?: number
  /** Work of compiling regexes, in units of about 20 ns. Default: 1000000. */
  compileFuel?: number
  /** Work of one mask in the lexer, in units of about 70 ns. Default: 200000. */
  stepFuel?: number
  /** Size of a compiled grammar, in symbols. Default: 50000. */
  symbols?: number
  /** States that the lexer may build, 1 to 2 KB each. Default: 20000. */
  states?: number
  /** JSON without white space between its tokens, so that more of them are forced. Default: false. */
  compact?: boolean
}

/** What every method that fails throws: an Error with a code and, for schemas, a JSON pointer to the fault. */
export interface GuideError extends Error {
  name: 'GuideError'
  code: 'invalid' | 'unsupported' | 'unsatisfiable' | 'limit' | 'rejected'
  path?: string
}
"#;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(typescript_type = "GrammarKind")]
    pub type GrammarKind;
    #[wasm_bindgen(typescript_type = "GrammarOptions")]
    pub type GrammarOptions;
    #[wasm_bindgen(typescript_type = "(text: string) => Uint32Array")]
    pub type TokenizeFunction;
}

/// A model's tokens, prepared for masks: built once a model.
#[wasm_bindgen]
pub struct Vocabulary(crate::Vocabulary);

#[wasm_bindgen]
impl Vocabulary {
    /// Token `i` is `bytes[offsets[i]..offsets[i + 1]]`; `special` has a byte a token, not 0 for special tokens, which
    /// never match text; `ends` are the tokens that end an answer. `tokenize` gives the model's own tokens of a text
    /// without special tokens; without it no tokens are forced. It must not call this module.
    #[wasm_bindgen(constructor)]
    pub fn new(
        bytes: &[u8],
        offsets: &[u32],
        special: &[u8],
        ends: &[u32],
        tokenize: Option<TokenizeFunction>,
    ) -> Result<Vocabulary, JsValue> {
        let tokenize = tokenize.map(|function| Callback(function.unchecked_into()).boxed());
        crate::Vocabulary::new(bytes, offsets, special, ends, tokenize).map(Vocabulary).map_err(thrown)
    }

    /// The number of tokens. A mask has a bit for each.
    #[wasm_bindgen(getter)]
    pub fn tokens(&self) -> usize {
        self.0.tokens()
    }

    /// Compiles a grammar. Throws a `GuideError`.
    pub fn compile(&self, kind: GrammarKind, text: &str, options: Option<GrammarOptions>) -> Result<Grammar, JsValue> {
        let kind = kind.as_string().unwrap_or_default();
        let limits = options.map_or_else(Limits::default, |given| limits_of(&given));
        crate::Grammar::compile(&self.0, &kind, text, &limits).map(Grammar).map_err(thrown)
    }
}

/// A compiled grammar: the start of any number of answers.
#[wasm_bindgen]
pub struct Grammar(crate::Grammar);

#[wasm_bindgen]
impl Grammar {
    /// Returns a matcher at the beginning of an answer.
    pub fn matcher(&self) -> Matcher {
        Matcher(self.0.matcher())
    }
}

/// The state of one answer under a grammar.
#[wasm_bindgen]
pub struct Matcher(crate::Matcher);

#[wasm_bindgen]
impl Matcher {
    /// Sets the bit of each token that may come next: token `i` is bit `i % 32` of word `i / 32`. Returns false if no
    /// token may come, not even an end token. Throws a `GuideError`.
    pub fn mask(&mut self, into: &mut [u32]) -> Result<bool, JsValue> {
        self.0.mask(into).map_err(thrown)
    }

    /// Accepts a token. Throws a `GuideError` with the code `rejected` if the grammar does not allow it; the state is
    /// then as before.
    pub fn commit(&mut self, token: u32) -> Result<(), JsValue> {
        self.0.commit(token).map_err(thrown)
    }

    /// Returns the tokens that must come next; none where there is a choice. They are not committed.
    pub fn forced(&mut self) -> Vec<u32> {
        self.0.forced()
    }

    /// True if the answer may end here.
    #[wasm_bindgen(js_name = isAccepting)]
    pub fn is_accepting(&mut self) -> Result<bool, JsValue> {
        self.0.is_accepting().map_err(thrown)
    }

    /// True if nothing but an end token may come: the answer is complete, ended, or cannot go on.
    #[wasm_bindgen(js_name = isStopped)]
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped()
    }

    /// Takes back the last `count` tokens. Throws a `GuideError`.
    pub fn rollback(&mut self, count: usize) -> Result<(), JsValue> {
        self.0.rollback(count).map_err(thrown)
    }

    /// Returns a matcher in the same state. Both share a cache, and a limit that one exceeds.
    #[wasm_bindgen(js_name = clone)]
    pub fn fork(&self) -> Matcher {
        Matcher(self.0.fork())
    }
}

/// A function of the host.
struct Callback(Function);

// SAFETY: the module is built without shared memory, so that it has one thread.
unsafe impl Send for Callback {}
// SAFETY: as above.
unsafe impl Sync for Callback {}

impl Callback {
    fn boxed(self) -> crate::Tokenize {
        Box::new(move |text| self.call(text))
    }

    /// A tokenizer that throws gives no tokens; the vocabulary then falls back to its own.
    fn call(&self, text: &str) -> Vec<u32> {
        let tokens = self.0.call1(&JsValue::NULL, &JsValue::from_str(text));
        tokens.ok().and_then(|value| value.dyn_into::<Uint32Array>().ok()).map_or_else(Vec::new, |array| array.to_vec())
    }
}

fn limits_of(given: &GrammarOptions) -> Limits {
    let number = |name: &str, default: f64| {
        let value = Reflect::get(given, &JsValue::from_str(name)).ok().and_then(|value| value.as_f64());
        value.filter(|value| *value >= 0.0).unwrap_or(default)
    };
    let usual = Limits::default();
    Limits {
        bytes: number("bytes", usual.bytes as f64) as usize,
        depth: number("depth", usual.depth as f64) as usize,
        compile_fuel: number("compileFuel", usual.compile_fuel as f64) as u64,
        step_fuel: number("stepFuel", usual.step_fuel as f64) as u64,
        symbols: number("symbols", usual.symbols as f64) as usize,
        states: number("states", usual.states as f64) as usize,
        compact: Reflect::get(given, &JsValue::from_str("compact")).is_ok_and(|value| value.is_truthy()),
    }
}

fn thrown(failure: Failure) -> JsValue {
    let error = Error::new(&failure.message);
    error.set_name("GuideError");
    let set = |name: &str, value: &str| {
        // Setting a property of a new Error cannot fail.
        let _ = Reflect::set(&error, &JsValue::from_str(name), &JsValue::from_str(value));
    };
    set("code", failure.code.name());
    if let Some(path) = &failure.path {
        set("path", path);
    }
    error.into()
}
