/** Something that reads a prompt, and is timed. */
import type { Message } from '../../node/index.ts'

/** From a prompt's token ids to the first token of the answer. */
export interface First {
  readonly ttft_ms: number
  /** Of this process; undefined where the work is done in another. */
  readonly cpu_ms?: number
  /** The greedy token. */
  readonly id: number
}

export type Mode = 'exact' | 'predicted' | 'refined'

export interface Contender {
  readonly name: string
  /** Whether all of its first tokens must be those of the Rust core: it runs the same weights. */
  readonly same: boolean
  readonly modes: readonly Mode[]
  first(prompt: readonly number[], mode: Mode): Promise<First>
  /** All prompts at once: milliseconds until each has its first token. */
  together?(prompts: readonly (readonly number[])[]): Promise<number>
  close(): Promise<void>
}

export interface EngineOptions {
  readonly model: string
  readonly context: number
  readonly threads: number | undefined
  /** The script of the command line, for what runs as a process of its own. */
  readonly cli: string
}

export interface FirstText {
  readonly ttft_ms: number
  /** Of this process; undefined where the work is done in another. */
  readonly cpu_ms?: number
}

export interface TextEngine {
  readonly name: string
  readonly build: string
  readonly modes: readonly Mode[]
  /** From a message accepted to the first text of its answer, behind no cache. */
  first(messages: readonly Message[], mode: Mode): Promise<FirstText>
  /** The first `tokens` tokens of the greedy answer, as text. */
  answer(messages: readonly Message[], tokens: number): Promise<string>
  close(): Promise<void>
}
