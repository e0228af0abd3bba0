/**
 * What a companion needs of an engine: an `Engine`, or another one that answers prompts of token
 * ids.
 */
import type { Answer, Engine, GenerateRequest, TextService } from '../src/index.ts'

export interface PromptReader extends Pick<TextService, 'context'> {
  readonly archive: Pick<TextService['archive'], 'name'>
  /** A hash of the weights, as `Engine.identity`. */
  readonly identity: string
  readonly backend: Pick<TextService['backend'], 'build' | 'memoryBytes'>
  readonly stats: Pick<TextService['stats'], 'running' | 'waiting'>
  readonly prediction: unknown
  /** Submits a prompt of token ids at once. Throws and rejects as `TextService.submit`. */
  submit(request: GenerateRequest): Answer
  /** Sends K and V. Absent: it answers whole prompts only. */
  readonly kvOf?: Engine['kvOf']
}
