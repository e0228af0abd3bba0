use llguidance::api::ParserLimits;

/// How a grammar is compiled, and bounds on what it may cost. The defaults keep a hostile grammar within a second on one core, in wasm.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Length of the schema or grammar, in bytes of UTF-8.
    pub bytes: usize,
    /// Nesting of a schema's values, or of brackets in a grammar or regex.
    pub depth: usize,
    /// Work of compiling the regexes of a grammar, in units of about 20 ns.
    pub compile_fuel: u64,
    /// Work of one mask in the lexer, in units of about 70 ns.
    pub step_fuel: u64,
    /// Size of a compiled grammar, in symbols.
    pub symbols: usize,
    /// States that the lexer may build while answers are matched; each takes 1 to 2 KB.
    pub states: usize,
    /// JSON without white space between its tokens, so that more of them are forced.
    pub compact: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes: 256 * 1024,
            depth: 64,
            compile_fuel: 1_000_000,
            step_fuel: 200_000,
            symbols: 50_000,
            states: 20_000,
            compact: false,
        }
    }
}

impl Limits {
    pub(crate) fn engine(&self) -> ParserLimits {
        ParserLimits {
            initial_lexer_fuel: self.compile_fuel,
            step_lexer_fuel: self.step_fuel,
            max_grammar_size: self.symbols,
            max_lexer_states: self.states,
            // Enough for the widest object that schema.rs lets pass, so that an answer does not end in the middle.
            max_items_in_row: 8_000,
            // Would run a large regex over the whole vocabulary before the first mask, to no limit in time.
            precompute_large_lexemes: false,
            verbose_errors: false,
            ..ParserLimits::default()
        }
    }
}
