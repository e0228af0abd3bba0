/** What an endpoint and a command line need of an engine, whatever runs its model: the Rust core, or ONNX Runtime. */
import type { Backend } from '../backend/backend.ts'
import type { GenerateEvent } from '../stream/events.ts'
import type { Engine } from './engine.ts'
import type { GenerateRequest } from './options.ts'
import type { Submission } from './submission.ts'

export interface AnyEngine
  extends Pick<
    Engine,
    'archive' | 'tokenizer' | 'context' | 'loadMs' | 'prediction' | 'stats' | 'promptIds' | 'prepare' | 'close'
  > {
  /** `memory`: where the core's memory is; absent where the model doesn't run in ours. */
  readonly backend: Pick<Backend, 'build' | 'memoryBytes'> & Partial<Pick<Backend, 'memory'>>
  /** Takes a request on; throws as `Engine.submit`. */
  submit(request: GenerateRequest): AnyAnswer
}

/** An answer's events, for one reader. Read it or cancel it: it may hold a place. */
export interface AnyAnswer extends AsyncIterable<GenerateEvent>, Pick<Submission, 'soFar' | 'cancel'> {}

const properties = ['archive', 'tokenizer', 'context', 'loadMs', 'backend', 'stats'] as const
const methods = ['submit', 'promptIds', 'close'] as const

/** Whether `value` can do what an endpoint needs. It is asked for that, and not for its class: bundles of one package have a class each. */
export function isAnyEngine(value: unknown): value is AnyEngine {
  if (typeof value !== 'object' || value === null) return false
  const known = value as Readonly<Record<string, unknown>>
  try {
    return (
      properties.every((name) => known[name] !== undefined) &&
      methods.every((name) => typeof known[name] === 'function')
    )
  } catch {
    // A getter that throws is no engine's.
    return false
  }
}
