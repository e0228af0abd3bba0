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
  /** Copies the instance. Absent where nothing is compiled in a worker. */
  save?(
    vocabulary: InstanceVocabulary,
    grammar: InstanceGrammar | undefined,
    tokenize: (text: string) => Uint32Array,
  ): SavedInstance
  /** Turns a new instance into a copy of one that was saved; pauses after each `slice` bytes. */
  restore?(
    saved: SavedInstance,
    tokenize: (text: string) => Uint32Array,
    slice?: number,
  ): Generator<undefined, RestoredInstance, undefined>
}

/** An instance as a value: its memory, and the addresses of what is used of it. */
export interface SavedInstance {
  readonly memory: Uint8Array<ArrayBuffer>
  readonly slots: number
  readonly refs: readonly (readonly [slot: number, kind: number])[]
  readonly vocabulary: number
  readonly grammar: number
}

/** What a restored instance holds. */
export interface RestoredInstance {
  readonly vocabulary: InstanceVocabulary
  readonly grammar: InstanceGrammar | undefined
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
