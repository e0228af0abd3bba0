import type { TokenizerSpec } from '../../src/base/model.ts'

/** Returns the spec of a tokenizer.json alone. */
export function specOf(json: object): TokenizerSpec {
  return {
    json: json as Record<string, unknown>,
    config: {},
    chatTemplate: undefined,
    bosToken: undefined,
    eosToken: undefined,
    eosIds: [],
    addBos: false,
  }
}
