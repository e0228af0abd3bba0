/** All that the page and the worker that runs the engine say to each other. Version 1. */
import type { ForetokenError, Message } from '../src/index.ts'

export type Mode = 'exact' | 'predicted' | 'refined'

/** A file of a model, as a server or a folder of static files offers it. */
export interface OfferedFile {
  readonly name: string
  /** Relative to the manifest. */
  readonly url: string
  readonly bytes: number
  /** Hex. */
  readonly sha256: string
}

/** `page/model.json`. */
export interface Manifest {
  readonly name: string
  readonly files: readonly OfferedFile[]
  readonly predictor?: OfferedFile
}

/** Where the weights come from. */
export type ModelSource =
  | { readonly kind: 'offered'; readonly manifest: Manifest; readonly base: string }
  | { readonly kind: 'picked'; readonly files: readonly File[] }
  /** A GGUF file of which nothing else is known. */
  | { readonly kind: 'address'; readonly url: string }

/** The processor by the Wasm core, or a GPU by WebGPU, where `threads` says nothing. */
export type Device = 'cpu' | 'gpu'

export type ToEngine =
  | { readonly type: 'load'; readonly source: ModelSource; readonly device: Device; readonly threads: number }
  | {
      readonly type: 'answer'
      readonly id: number
      readonly messages: readonly Message[]
      readonly mode: Mode
      /** So many tokens, without the page's penalty for repetition: what other engines say greedily. */
      readonly plain?: number
    }
  /** How soon an exact first token comes, with so many tokens of the prompt in the cache. */
  | { readonly type: 'time'; readonly id: number; readonly messages: readonly Message[]; readonly cachedTokens: number }
  | { readonly type: 'pack'; readonly id: number; readonly prompts: readonly string[] }
  | { readonly type: 'cancel'; readonly id: number }
  /** Removes what is kept of all models. */
  | { readonly type: 'forget' }

/** What was found of an answer. Milliseconds. */
export interface AnswerFigures {
  readonly ttft: number
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly tokens: number
  readonly tokensPerSecond: number
  /** Ended by the page's limit or the model's context, and not by the model. */
  readonly cut: boolean
  readonly prefill: Mode
  /** The first token that was made from an exact cache, from 0. */
  readonly exactFrom?: number
  readonly memory: number
}

/** Prompts, read in three ways. Milliseconds until all have their first token. */
export interface PackFigures {
  readonly lengths: readonly number[]
  readonly alone: number
  readonly padded: number
  readonly packed: number
}

export type FromEngine =
  | {
      readonly type: 'progress'
      /** `wait`: for another tab that fetches the same file. */
      readonly stage: 'wait' | 'fetch' | 'check' | 'load'
      readonly done: number
      /** 0 where nobody tells it. */
      readonly total: number
    }
  | {
      readonly type: 'ready'
      readonly name: string
      readonly build: string
      readonly memory: number
      readonly context: number
      readonly loadMs: number
      readonly predictor: boolean
      /** Whether the next visit finds the model here; why not, where it does not. */
      readonly kept: true | string
      /** What came from an address, to be found by on the next visit. */
      readonly found?: Manifest
    }
  | { readonly type: 'token'; readonly id: number; readonly text: string; readonly exact: boolean }
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
