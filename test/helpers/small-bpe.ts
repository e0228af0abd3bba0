/** The small byte-level BPE of test/vectors/chat.json: special tokens, added tokens that are not special, some hundred merges. */
import { createTokenizer, type Tokenizer } from '../../src/tokens/tokenizer.ts'
import type { Message, TokenizerSpec } from '../../src/types.ts'
import { readGolden } from '../golden/golden.ts'

export interface ChatCase {
  readonly template: string
  readonly name: string
  readonly messages: readonly Message[]
  readonly values: Readonly<Record<string, unknown>>
  readonly text: string
  readonly ids: readonly number[]
}

export const chatGolden = readGolden<{ tokenizer: Record<string, unknown>; cases: readonly ChatCase[] }>(
  'chat.json',
  'chat',
)

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
