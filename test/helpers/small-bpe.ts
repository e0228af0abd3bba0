/**
 * Reads the small byte-level BPE of test/vectors/chat.json: special tokens, added tokens that are
 * not special, and about a hundred merges.
 */

import type { TokenizerSpec } from '../../src/base/model.ts'
import type { ChatMessage } from '../../src/base/prompt.ts'
import { createTokenizer, type Tokenizer } from '../../src/tokens/tokenizer.ts'
import { readGolden } from '../golden/golden.ts'

export interface ChatCase {
  readonly template: string
  /** Name of the conversation. */
  readonly name: string
  readonly values?: Readonly<Record<string, unknown>>
  readonly text?: string
  /** The first eight digits of the sha256 of its ids, in decimal and joined by commas. */
  readonly ids?: string
  /**
   * The error that the template raises; empty where the reference says that an answer cannot be
   * continued.
   */
  readonly refused?: string
}

export const chatGolden = readGolden<{
  readonly tokenizer: Record<string, unknown>
  readonly today: string
  readonly families: Readonly<Record<string, readonly [bos: string, eos: string]>>
  readonly conversations: Readonly<Record<string, readonly ChatMessage[]>>
  readonly cases: readonly ChatCase[]
}>('chat.json', 'chat')

export const specials = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'] as const

export function smallSpec(chatTemplate?: string, json: Record<string, unknown> = {}): TokenizerSpec {
  return {
    json: { ...chatGolden.tokenizer, ...json },
    config: {},
    chatTemplate,
    bosToken: '<|im_start|>',
    eosToken: '<|im_end|>',
    eosIds: [],
    addBos: false,
  }
}

export const smallTokenizer = (chatTemplate?: string): Tokenizer => createTokenizer(smallSpec(chatTemplate))
