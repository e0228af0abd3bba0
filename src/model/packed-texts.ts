/** Holds texts without an object for each: all in one string, and where each ends. */
import type { PackedTexts } from '../base/model.ts'

/** Returns the text at a place of a list; undefined outside of it. */
export function textAt({ text, ends }: PackedTexts, at: number): string | undefined {
  return at in ends ? text.slice(begin(ends, at), ends[at]) : undefined
}

/** Packs texts by id; undefined and '' are ids without a token. */
export function packTexts(texts: readonly (string | null | undefined)[]): PackedTexts {
  const ends = new Uint32Array(texts.length)
  let end = 0
  for (let id = 0; id < texts.length; id++) {
    end += texts[id]?.length ?? 0
    ends[id] = end
  }
  return { text: texts.join(''), ends }
}

/** Returns where the text of an id begins. */
export function begin(ends: Uint32Array, id: number): number {
  return id === 0 ? 0 : (ends[id - 1] ?? 0)
}
