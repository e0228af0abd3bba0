/** Types of guides, which give an answer a shape: a JSON schema, a list of choices, or a grammar. */

/** A JSON schema: an object of keywords, or true or false. */
export type JsonSchema = Readonly<Record<string, unknown>> | boolean

/** What an answer must match from its first character to its last. */
export type Guide =
  | {
      readonly kind: 'json_schema'
      /** The schema, or its text as JSON. Remote references are refused. */
      readonly schema: JsonSchema | string
      /** JSON without white space between its tokens, so that more of them are forced. Default false. */
      readonly compact?: boolean | undefined
    }
  | {
      /** Any JSON object. */
      readonly kind: 'json_object'
      /** As for `json_schema`. */
      readonly compact?: boolean | undefined
    }
  | {
      readonly kind: 'choice'
      /** The answer is one of these texts. At least one. */
      readonly choices: readonly string[]
    }
  | {
      readonly kind: 'regex'
      /** A regex that the whole answer matches, in the syntax of Rust's `regex`, without look-around. */
      readonly regex: string
    }
  | {
      readonly kind: 'lark'
      /** A context-free grammar in llguidance's variant of Lark; its start rule is `start`. */
      readonly grammar: string
    }
  | {
      readonly kind: 'gbnf'
      /** A grammar in llama.cpp's GBNF; its start rule is `root`. */
      readonly grammar: string
    }

/** The kinds of guides. */
export const guideKinds: readonly Guide['kind'][] = ['json_schema', 'json_object', 'choice', 'regex', 'lark', 'gbnf']

const toolLines = /^\/\/ parameters of ([\w.-]+)$/gm

/** Returns the line that says, in the Lark grammar of an answer, which tool the schemas after it are of. */
export function toolLine(name: string): string {
  return `// parameters of ${name}`
}

/** Returns the tool whose schema stands at an index of a Lark grammar; undefined if it is not one's. */
export function toolAt(grammar: string, index: number): string | undefined {
  return [...grammar.slice(0, index).matchAll(toolLines)].at(-1)?.[1]
}
