/** Describes the parts of `wasm/guide` that are used. `wasm/dist/guide/guide.d.ts` has the whole interface. */

/** How a grammar is written, for the engine. */
export type GrammarKind = 'json_schema' | 'json_object' | 'choice' | 'regex' | 'lark'

/** An instance of the module. After a trap it and all of its objects must be dropped. */
export interface GuideInstance {
  readonly Vocabulary: new (
    bytes: Uint8Array,
    offsets: Uint32Array,
    special: Uint8Array,
    ends: Uint32Array,
    tokenize?: (text: string) => Uint32Array,
  ) => InstanceVocabulary
}

/** The tokens of a model. */
export interface InstanceVocabulary {
  readonly tokens: number
  compile(kind: GrammarKind, text: string, options?: { readonly compact?: boolean }): InstanceGrammar
}

/** A compiled grammar. */
export interface InstanceGrammar {
  matcher(): InstanceMatcher
  free(): void
}

/** The state of one answer. */
export interface InstanceMatcher {
  mask(into: Uint32Array): boolean
  commit(token: number): void
  forced(): Uint32Array
  isStopped(): boolean
  free(): void
}
