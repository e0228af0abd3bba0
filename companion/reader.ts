/** What a companion needs of an engine: an `Engine`, or another that can answer prompts of token ids. */
import type { Engine, GenerateEvent, GenerateRequest } from '../src/index.ts'

export interface PromptReader {
  readonly archive: { readonly name: string }
  /** Tells its weights from others, as `Engine.identity` does. */
  readonly identity: string
  readonly context: number
  readonly backend: { readonly build: string; memoryBytes(): number }
  readonly stats: { readonly running: number; readonly waiting: number }
  readonly prediction: unknown
  submit(request: GenerateRequest): AsyncIterable<GenerateEvent>
  /** Absent: it answers whole, and sends no K and V. */
  readonly kvOf?: Engine['kvOf']
}
