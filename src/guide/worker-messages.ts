/** Defines the whole protocol between the guides of an engine and their worker. Version 1. */
import type { ErrorCode } from '../base/errors.ts'
import type { Guide } from '../base/guide.ts'
import type { TokenizerSpec } from '../base/model.ts'
import type { SpawnWorker } from '../base/serial-worker.ts'
import type { GrammarKind, SavedInstance } from './instance.ts'

/** Messages to the worker: `open` once, first; then grammars, each after the answer to the one before. */
export type ToGuideWorker =
  | {
      readonly type: 'open'
      /** `guide.wasm`, compiled, and the address of its `guide.js`. */
      readonly module: WebAssembly.Module
      readonly glue: string
      readonly spec: TokenizerSpec
      /** Number of logits of the model. */
      readonly vocab: number
    }
  | {
      readonly type: 'compile'
      readonly id: number
      readonly named: Guide['kind']
      readonly kind: GrammarKind
      readonly text: string
      readonly compact: boolean
      /** A grammar that took no longer, in milliseconds, is compiled again where it is used. */
      readonly againMs: number
    }

/** Messages from the worker. */
export type FromGuideWorker =
  /** The instance with the model's table, without a grammar. */
  | { readonly type: 'opened'; readonly saved: SavedInstance }
  /** `saved`: an instance with the grammar; absent if it is to be compiled again. */
  | { readonly type: 'compiled'; readonly id: number; readonly saved?: SavedInstance }
  /** `traps`: the grammar ended its instance. */
  | {
      readonly type: 'failed'
      readonly id: number
      readonly code: ErrorCode
      readonly message: string
      readonly traps: boolean
    }

/** Starts a worker that runs `serveGuides`. */
export type SpawnGuides = SpawnWorker<ToGuideWorker, FromGuideWorker>
