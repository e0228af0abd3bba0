/** What an endpoint and a command line need of an engine, whatever runs its model: the Rust core, or ONNX Runtime. */
import type { Backend } from './backend/backend.ts'
import type { Engine } from './engine.ts'
import type { GenerateRequest } from './options.ts'
import type { GenerateEvent } from './stream/events.ts'
import type { Submission } from './submission.ts'

export interface AnyEngine
  extends Pick<
    Engine,
    'archive' | 'tokenizer' | 'context' | 'loadMs' | 'prediction' | 'stats' | 'promptIds' | 'prepare' | 'close'
  > {
  readonly backend: Pick<Backend, 'build' | 'memoryBytes'>
  /** Takes a request on; throws as `Engine.submit`. */
  submit(request: GenerateRequest): AnyAnswer
}

/** An answer's events, for one reader. Read it or cancel it: it may hold a place. */
export interface AnyAnswer extends AsyncIterable<GenerateEvent>, Pick<Submission, 'soFar' | 'cancel'> {}
