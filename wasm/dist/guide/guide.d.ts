// Made by wasm/guide.mjs from what wasm-bindgen wrote. Do not edit.
/* tslint:disable */
/* eslint-disable */

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



/**
 * A compiled grammar: the start of any number of answers.
 */
declare class Grammar {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * Returns a matcher at the beginning of an answer.
     */
    matcher(): Matcher;
}

/**
 * The state of one answer under a grammar.
 */
declare class Matcher {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * Returns a matcher in the same state. Both share a cache, and a limit that one exceeds.
     */
    clone(): Matcher;
    /**
     * Accepts a token. Throws a `GuideError` with the code `rejected` if the grammar does not allow it; the state is
     * then as before.
     */
    commit(token: number): void;
    /**
     * Returns the tokens that must come next; none where there is a choice. They are not committed.
     */
    forced(): Uint32Array;
    /**
     * True if the answer may end here.
     */
    isAccepting(): boolean;
    /**
     * True if nothing but an end token may come: the answer is complete, ended, or cannot go on.
     */
    isStopped(): boolean;
    /**
     * Sets the bit of each token that may come next: token `i` is bit `i % 32` of word `i / 32`. Returns false if no
     * token may come, not even an end token. Throws a `GuideError`.
     */
    mask(into: Uint32Array): boolean;
    /**
     * Takes back the last `count` tokens. Throws a `GuideError`.
     */
    rollback(count: number): void;
}

/**
 * A model's tokens, prepared for masks: built once a model.
 */
declare class Vocabulary {
    free(): void;
    [Symbol.dispose](): void;
    /**
     * Compiles a grammar. Throws a `GuideError`.
     */
    compile(kind: GrammarKind, text: string, options?: GrammarOptions | null): Grammar;
    /**
     * Token `i` is `bytes[offsets[i]..offsets[i + 1]]`; `special` has a byte a token, not 0 for special tokens, which
     * never match text; `ends` are the tokens that end an answer. `tokenize` gives the model's own tokens of a text
     * without special tokens; without it no tokens are forced. It must not call this module.
     */
    constructor(bytes: Uint8Array | number[], offsets: Uint32Array | number[], special: Uint8Array | number[], ends: Uint32Array | number[], tokenize?: (text: string) => Uint32Array | null);
    /**
     * The number of tokens. A mask has a bit for each.
     */
    readonly tokens: number;
}

export type { Grammar, Matcher, Vocabulary }

/** An instance with its vocabulary, and perhaps a grammar, to be restored in another thread. It can be cloned. */
export interface SavedGuide {
  readonly memory: Uint8Array<ArrayBuffer>
  /** Length of the table of objects of JavaScript, and those that the instance refers to: slot and kind. */
  readonly slots: number
  readonly refs: readonly (readonly [slot: number, kind: number])[]
  /** Addresses. */
  readonly vocabulary: number
  readonly grammar: number
}

/** The classes of one instance. An object of one instance must not be given to another. */
export interface Guide {
  readonly Grammar: typeof Grammar
  readonly Matcher: typeof Matcher
  readonly Vocabulary: typeof Vocabulary
  /** Copies this instance. `tokenize` is the function that its vocabulary got. */
  save(vocabulary: Vocabulary, grammar: Grammar | undefined, tokenize: (text: string) => Uint32Array): SavedGuide
  /**
   * Turns this instance, which must be new, into a copy of one that was saved; pauses after each `slice` bytes of memory.
   * Nothing else of this instance may be used before, and none of its older objects after.
   */
  restore(
    saved: SavedGuide,
    tokenize: (text: string) => Uint32Array,
    slice?: number,
  ): Generator<undefined, { vocabulary: Vocabulary; grammar: Grammar | undefined }, undefined>
}

/**
 * Makes an instance of `guide.wasm`. An error that is not a `GuideError` (a RuntimeError) means that the instance has
 * trapped: drop it with all of its objects, without `free`, and make a new one.
 */
export function instantiate(module: WebAssembly.Module): Guide
