use std::fmt;

/// The reason for a failure. The names are part of the module's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The text is not a schema or grammar.
    Invalid,
    /// The text is valid, but uses something that the engine does not implement.
    Unsupported,
    /// No answer can match.
    Unsatisfiable,
    /// A limit is exceeded: size, depth, or the work of compiling or of one step.
    Limit,
    /// The matcher does not accept this token or call in its present state. The state is unchanged.
    Rejected,
}

impl Code {
    pub fn name(self) -> &'static str {
        match self {
            Code::Invalid => "invalid",
            Code::Unsupported => "unsupported",
            Code::Unsatisfiable => "unsatisfiable",
            Code::Limit => "limit",
            Code::Rejected => "rejected",
        }
    }
}

/// A failure to compile or to match. `path` is a JSON pointer into the schema (`""` is its root), where one is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    pub path: Option<String>,
    pub message: String,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Failure { code, path: None, message: message.into() }
    }

    pub fn at(self, path: impl Into<String>) -> Self {
        Failure { path: Some(path.into()), ..self }
    }

    /// Translates an error of the engine. The engine has no codes, so this reads its text; the tests hold each case.
    pub(crate) fn from_engine(error: &str) -> Self {
        let first = error.split("\n<state>").next().unwrap_or(error);
        let message = first.split("\n<non-verbose/>").next().unwrap_or(first).trim();
        const LIMITS: [&str; 11] = [
            "fuel",
            "deeply nested",
            "too large",
            "too complex",
            "too many",
            "too big",
            "limit",
            "stack level",
            "exceed",
            "initial lexer",
            "LexerTooComplex",
        ];
        let code = if LIMITS.iter().any(|word| message.contains(word)) {
            Code::Limit
        } else if message.contains("nsatisfiable") {
            Code::Unsatisfiable
        } else if ["Unimplemented", "not supported", "Unknown format", "can't determine"]
            .iter()
            .any(|w| message.contains(w))
        {
            Code::Unsupported
        } else {
            Code::Invalid
        };
        Failure::new(code, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{} at {path:?}: {}", self.code.name(), self.message),
            None => write!(f, "{}: {}", self.code.name(), self.message),
        }
    }
}

impl std::error::Error for Failure {}
