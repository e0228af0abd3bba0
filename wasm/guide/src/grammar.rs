use llguidance::api::{GrammarInit, GrammarWithLexer, TopLevelGrammar};
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Logger, Matcher as Engine, ParserFactory, TokenParser};
use serde_json::{Value, json};

use crate::failure::{Code, Failure};
use crate::limits::Limits;
use crate::matcher::Matcher;
use crate::text;
use crate::vocabulary::Vocabulary;
use crate::{locate, schema};

/// A compiled grammar: the start of any number of answers.
pub struct Grammar {
    start: Matcher,
}

impl Grammar {
    /// Compiles `text`.
    ///
    /// | kind | text |
    /// |---|---|
    /// | `json_schema` | a JSON schema |
    /// | `json_object` | not read: any JSON object |
    /// | `choice` | a JSON array of strings, one of which is the answer |
    /// | `regex` | a regex that the whole answer matches |
    /// | `lark` | a grammar in llguidance's variant of Lark |
    pub fn compile(vocabulary: &Vocabulary, kind: &str, text: &str, limits: &Limits) -> Result<Self, Failure> {
        if text.len() > limits.bytes {
            let message = format!("a grammar may have {} bytes, this one has {}", limits.bytes, text.len());
            return Err(Failure::new(Code::Limit, message));
        }
        let parser = match kind {
            "json_schema" => json_schema(vocabulary, text, limits)?,
            "json_object" => parser(vocabulary.factory(), schema_grammar(json!({ "type": "object" }), limits), limits)?,
            "choice" => parser(vocabulary.factory(), regex_grammar(&text::choices(text)?), limits)?,
            "regex" => {
                text::check_regex(text, limits)?;
                parser(vocabulary.factory(), regex_grammar(text::unanchored(text)), limits)?
            }
            "lark" => {
                let lark = text::checked_lark(text, limits)?;
                parser(vocabulary.factory(), TopLevelGrammar::from_lark(lark), limits)?
            }
            _ => {
                let kinds = "json_schema, json_object, choice, regex or lark";
                return Err(Failure::new(Code::Unsupported, format!("a grammar is a {kinds}, not {kind:?}")));
            }
        };
        let start = Matcher::new(Engine::new(Ok(parser)), vocabulary);
        start.check_open()?;
        Ok(Grammar { start })
    }

    /// Returns a matcher at the beginning of an answer. Matchers of one grammar do not share state.
    pub fn matcher(&self) -> Matcher {
        self.start.separate()
    }
}

fn json_schema(vocabulary: &Vocabulary, text: &str, limits: &Limits) -> Result<TokenParser, Failure> {
    let document = schema::parse(text, limits)?;
    schema::check(&document, limits)?;
    let compile = |schema: Value| parser(vocabulary.factory(), schema_grammar(schema, limits), limits);
    compile(document.clone()).map_err(|failure| {
        let path = locate::failing(&document, |schema| compile(schema).is_err());
        failure.at(path)
    })
}

fn schema_grammar(mut schema: Value, limits: &Limits) -> TopLevelGrammar {
    schema::set_writing(&mut schema, limits);
    TopLevelGrammar::from_json_schema(schema)
}

fn regex_grammar(regex: &str) -> TopLevelGrammar {
    TopLevelGrammar::from_grammar(GrammarWithLexer::from_regex(regex))
}

fn parser(factory: &ParserFactory, grammar: TopLevelGrammar, limits: &Limits) -> Result<TokenParser, Failure> {
    let capabilities = InferenceCapabilities::default();
    factory
        .create_parser_from_init_ext(GrammarInit::Serialized(grammar), Logger::new(0, 0), capabilities, limits.engine())
        .map_err(|error| Failure::from_engine(&format!("{error:#}")))
}
