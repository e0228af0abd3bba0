/** What was timed of an answer. Milliseconds. */
import type { EndpointAnswer } from './endpoint.ts'
import type { AnswerFigures } from './protocol.ts'

export interface Times {
  /** On the page's clock. */
  readonly begun: number
  readonly ttft?: number
  /** Of exact prefill of the same prompt, measured. */
  readonly exact?: number
  readonly figures?: AnswerFigures
  readonly endpoint?: EndpointAnswer
}
