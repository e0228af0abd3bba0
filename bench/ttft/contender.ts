/** The interfaces of engines that read a prompt and are timed. */
import type { Message } from '../../node/index.ts'

/** The time from a prompt's token ids to the first token of the answer. */
export interface First {
  readonly ttft_ms: number
  /** CPU time of this process; undefined if the work is done in another. */
  readonly cpu_ms?: number
  /** The greedy token. */
  readonly id: number
}

export type Mode = 'exact' | 'predicted' | 'refined'

export interface Contender {
  readonly name: string
  /** True if it runs the same weights, so that its first tokens must be those of the Rust core. */
  readonly same: boolean
  readonly modes: readonly Mode[]
  first(prompt: readonly number[], mode: Mode): Promise<First>
  /** Runs all prompts at once. Returns the milliseconds until each has its first token. */
  together?(prompts: readonly (readonly number[])[]): Promise<number>
  close(): Promise<void>
}

export interface EngineOptions {
  readonly model: string
  readonly context: number
  readonly threads: number | undefined
  /** The script of the command line, for engines that run as processes of their own. */
  readonly cli: string
}

export interface FirstText {
  readonly ttft_ms: number
  /** CPU time of this process; undefined if the work is done in another. */
  readonly cpu_ms?: number
}

export interface TextEngine {
  readonly name: string
  readonly build: string
  readonly modes: readonly Mode[]
  /**
   * Times from a message being accepted to the first text of its answer, without a cached prefix.
   */
  first(messages: readonly Message[], mode: Mode): Promise<FirstText>
  /** Returns the first `tokens` tokens of the greedy answer, as text. */
  answer(messages: readonly Message[], tokens: number): Promise<string>
  close(): Promise<void>
}
