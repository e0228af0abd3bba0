/** The messages between the page and the engine's worker. Version 1. */
import type { ForetokenError, Message, ToolDefinition } from '../src/index.ts'

export type Mode = 'exact' | 'predicted' | 'refined'

/** A file of a model, as described in a manifest. */
export interface OfferedFile {
  readonly name: string
  /** The address, relative to the manifest. */
  readonly url: string
  readonly bytes: number
  /** SHA-256 in hex. */
  readonly sha256: string
}

/** A model in `page/model.json`. */
export interface Manifest {
  readonly name: string
  readonly files: readonly OfferedFile[]
  readonly predictor?: OfferedFile
  readonly licence?: string
  /** The address of the licence. */
  readonly terms?: string
  /** The memory that the model takes, in bytes. Default: estimated from its files. */
  readonly memory?: number
}

/** The source of the weights. */
export type ModelSource =
  | { readonly kind: 'offered'; readonly manifest: Manifest; readonly base: string }
  | { readonly kind: 'picked'; readonly files: readonly File[] }
  /** A GGUF file of unknown size and hash. */
  | { readonly kind: 'address'; readonly url: string }

/** The CPU with the Wasm core, or a GPU with WebGPU, which ignores `threads`. */
export type Device = 'cpu' | 'gpu'

/** What is asked of a model. */
export interface Question {
  readonly messages: readonly Message[]
  readonly mode: Mode
  /** The JSON schema that the answer fits, as text. */
  readonly schema?: string
  readonly tools?: readonly ToolDefinition[]
  /** Whether the answer begins with a call. Default `auto`. */
  readonly choice?: 'auto' | 'required' | 'none'
}

export type ToEngine =
  /** Loads a model in place of the one in memory, and cancels a load that is still running. */
  | {
      readonly type: 'load'
      readonly id: number
      readonly source: ModelSource
      readonly device: Device
      readonly threads: number
    }
  | (Question & {
      readonly type: 'answer'
      readonly id: number
      /**
       * Number of tokens to generate greedily without the page's repetition penalty, as other
       * engines do.
       */
      readonly plain?: number
    })
  /** Measures exact TTFT with `cachedTokens` tokens of the prompt in the cache. */
  | (Omit<Question, 'mode'> & { readonly type: 'time'; readonly id: number; readonly cachedTokens: number })
  /** Computes a conversation ahead of the next question in it. */
  | (Omit<Question, 'mode'> & { readonly type: 'read'; readonly id: number })
  /** Compiles a schema, which loads the grammar engine. */
  | { readonly type: 'check'; readonly id: number; readonly schema: string }
  | { readonly type: 'pack'; readonly id: number; readonly prompts: readonly string[] }
  | { readonly type: 'cancel'; readonly id: number }
  /** Removes stored files by their SHA-256; `unload` closes the model in memory first. */
  | {
      readonly type: 'forget'
      readonly id: number
      readonly hashes: readonly string[]
      readonly unload: boolean
    }

/** Figures of an answer; times in milliseconds. */
export interface AnswerFigures {
  readonly ttft: number
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly tokens: number
  readonly tokensPerSecond: number
  /** Whether the answer ended at the page's limit or the context, not by the model. */
  readonly cut: boolean
  readonly prefill: Mode
  /** Index of the first token generated from an exact cache, from 0. */
  readonly exactFrom?: number
  readonly memory: number
}

/** Times until all prompts have their first token, in three ways, in milliseconds. */
export interface PackFigures {
  readonly lengths: readonly number[]
  readonly alone: number
  readonly padded: number
  readonly packed: number
}

export type FromEngine =
  | {
      readonly type: 'progress'
      readonly id: number
      /** The stage `wait` waits for another tab that fetches the same file. */
      readonly stage: 'wait' | 'fetch' | 'check' | 'load'
      readonly done: number
      /** The total in bytes; 0 if unknown. */
      readonly total: number
    }
  /** No model is in memory any more. */
  | { readonly type: 'unloaded' }
  | {
      readonly type: 'ready'
      readonly id: number
      readonly name: string
      readonly build: string
      readonly memory: number
      readonly context: number
      readonly loadMs: number
      readonly predictor: boolean
      /** True if the model is stored for the next visit; otherwise the reason why not. */
      readonly kept: true | string
      /** The manifest of a model fetched from an address, to find it on the next visit. */
      readonly found?: Manifest
    }
  | { readonly type: 'token'; readonly id: number; readonly text: string; readonly exact: boolean }
  /** The text of the answer, which replaces what came of it; its calls are void. More follows. */
  | { readonly type: 'correction'; readonly id: number; readonly text: string }
  /** A call of a tool begins; calls of an answer are numbered from 0. */
  | { readonly type: 'call'; readonly id: number; readonly index: number; readonly name: string }
  /** More of the arguments of a call, as JSON text. */
  | { readonly type: 'arguments'; readonly id: number; readonly index: number; readonly text: string }
  | { readonly type: 'checked'; readonly id: number }
  /** `tokens` is the length of the conversation. */
  | { readonly type: 'read'; readonly id: number; readonly tokens: number }
  | { readonly type: 'forgotten'; readonly id: number }
  | { readonly type: 'answered'; readonly id: number; readonly figures: AnswerFigures }
  | { readonly type: 'timed'; readonly id: number; readonly ttft: number }
  | { readonly type: 'packing'; readonly id: number; readonly done: number; readonly total: number }
  | { readonly type: 'packed'; readonly id: number; readonly figures: PackFigures }
  | {
      readonly type: 'failed'
      readonly id?: number
      readonly code: ForetokenError['code'] | 'page'
      readonly message: string
    }
