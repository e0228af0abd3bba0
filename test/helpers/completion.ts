/** Leads the beginning of an answer in JSON to an end that its grammar allows, without a model. */
import type { GuideModel, Guides } from '../../src/decode/guide.ts'
import type { Guide } from '../../src/index.ts'
import { random } from './random.ts'

/** Most tokens to add, and how often to begin again with other ones. */
const mostTokens = 4000
const tries = 4

/**
 * Returns a function that takes the first tokens of an answer and returns a whole text that begins
 * with them; undefined if no end was found. It draws tokens of one byte:
 * ends first, and digits and separators more often than others, which patterns ask for.
 */
export function completion(guides: Guides, model: GuideModel) {
  const { tokenizer, vocab, eosIds } = model
  const byByte = new Map<string, number>()
  for (let id = 0; id < Math.min(vocab, tokenizer.vocabSize); id++) {
    const bytes = tokenizer.tokenBytes(id)
    if (bytes.length === 1 && !tokenizer.isSpecial(id)) byByte.set(String.fromCharCode(bytes[0] ?? 0), id)
  }
  const mask = new Uint32Array(Math.ceil(vocab / 32))
  const allowed = (id: number) => (((mask[id >>> 5] ?? 0) >>> (id & 31)) & 1) === 1
  const ids = (order: string) => [...order].flatMap((one) => byByte.get(one) ?? [])
  const inside = ids('"')
  const outside = ids('}]"')
  const usual = [...byByte].filter(([one]) => /[^\s\\{[]/.test(one)).map(([, id]) => id)
  const likely = ids('0123456789.-:/_')
  const unusual = ids('[{\\ \n\r\t')

  function once(guide: Guide, begun: readonly number[], unit: () => number): string | undefined {
    const matcher = guides.matcher(guide)
    const bytes: number[] = []
    const accept = (id: number) => {
      matcher.accept(id)
      for (const byte of tokenizer.tokenBytes(id)) bytes.push(byte)
    }
    try {
      for (const id of begun) accept(id)
      for (let count = 0; count < mostTokens; count++) {
        if (matcher.stopped || !matcher.mask(mask) || eosIds.some(allowed))
          return new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(bytes))
        const preferred = unit() < 0.5 ? likely.filter(allowed) : []
        const free = preferred.length > 0 ? preferred : usual.filter(allowed)
        const drawn = free[Math.floor(unit() * free.length)]
        const id = (inString(bytes) ? inside : outside).find(allowed) ?? drawn ?? unusual.find(allowed)
        if (id === undefined) return undefined
        accept(id)
      }
      return undefined
    } finally {
      matcher.end()
    }
  }

  return (guide: Guide, begun: readonly number[], seed: number): string | undefined => {
    const { unit } = random(seed)
    for (let count = 0; count < tries; count++) {
      const text = once(guide, begun, unit)
      if (text !== undefined && isJson(text)) return text
    }
    return undefined
  }
}

function inString(bytes: readonly number[]): boolean {
  let inside = false
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] === 0x22) inside = !inside
    else if (inside && bytes[at] === 0x5c) at++
  }
  return inside
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
