/** The times of an answer, in milliseconds. */
import type { EndpointAnswer } from './endpoint.ts'
import type { AnswerFigures } from './protocol.ts'

export interface Times {
  /** Start time on the page's clock. */
  readonly begun: number
  readonly ttft?: number
  /** Measured TTFT of exact prefill of the same prompt. */
  readonly exact?: number
  readonly figures?: AnswerFigures
  readonly endpoint?: EndpointAnswer
}
