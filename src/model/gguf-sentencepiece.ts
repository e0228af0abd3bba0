/** Reads SentencePiece's BPE of a GGUF as merges. */

import { defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import type { PackedTexts } from '../base/model.ts'
import { limits } from './limits.ts'
import type { MetadataReader } from './metadata.ts'
import type { Parts } from './tokenizer-parts.ts'
import type { Vocabulary } from './vocabulary.ts'

/**
 * Reads SentencePiece's BPE as merges. SentencePiece joins the neighbours whose union has the best
 * score, which equals applying a merge for every way to cut a piece in two, best score first.
 */
export async function sentencePiece(
  metadata: MetadataReader,
  { text, ends }: PackedTexts,
  vocabulary: Vocabulary,
  unk: string | null,
): Promise<Parts> {
  checkCuts(metadata.where, ends)
  const scores = await metadata.optionalNumbers('tokenizer.ggml.scores', limits.tokens)
  if (!scores || scores.length !== ends.length)
    throw new ForetokenError(
      'bad_model',
      `${metadata.where}: ${scores?.length ?? 0} scores for ${ends.length} tokens (tokenizer.ggml.scores)`,
    )
  const [lefts, rights, wholes]: [number[], number[], number[]] = [[], [], []]
  for (let id = 0, from = 0; id < ends.length; id++) {
    const to = defined(ends[id])
    for (let at = from + 1; at < Math.min(to, from + maxPiece); at++) {
      const left = vocabulary.find(text, from, at)
      const right = left === undefined ? undefined : vocabulary.find(text, at, to)
      if (right === undefined) continue
      lefts.push(defined(left))
      rights.push(right)
      wholes.push(id)
    }
    if (wholes.length > limits.merges)
      throw new ForetokenError('bad_model', `${metadata.where}: its pieces make more than ${limits.merges} merges`)
    from = to
  }
  const scoreOf = (merge: number) => defined(scores[defined(wholes[merge])])
  const order = Uint32Array.from(wholes.keys()).sort((a, b) => scoreOf(b) - scoreOf(a) || a - b)
  const mergeIds = new Uint32Array(2 * order.length)
  for (let rank = 0; rank < order.length; rank++) {
    mergeIds[2 * rank] = defined(lefts[defined(order[rank])])
    mergeIds[2 * rank + 1] = defined(rights[defined(order[rank])])
  }
  const prefix = metadata.optionalFlag('tokenizer.ggml.add_space_prefix') ?? true
  return {
    mergeIds,
    normalizer: {
      type: 'Sequence',
      normalizers: [
        ...(prefix ? [{ type: 'Prepend', prepend: '▁' }] : []),
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    decoder: null,
    model: { type: 'BPE', unk_token: unk, fuse_unk: true, byte_fallback: true, ignore_merges: false },
  }
}

/** Maximum length of a piece that is cut in all ways, in letters. */
const maxPiece = 256

/**
 * Maximum number of letters that are read to cut all pieces in all ways. Gemma's 262,144 pieces of
 * up to 16 letters take at most 67 million.
 */
const maxCutLetters = 2 ** 28

/**
 * Estimates the work of cutting pieces, which grows with the square of their lengths. Throws
 * `bad_model` before any of it is done if it is too much.
 */
function checkCuts(where: string, ends: Uint32Array): void {
  let letters = 0
  for (let id = 0, from = 0; id < ends.length; from = defined(ends[id++])) {
    const length = defined(ends[id]) - from
    letters += length * Math.min(length, maxPiece)
  }
  if (letters > maxCutLetters)
    throw new ForetokenError(
      'bad_model',
      `${where}: its ${ends.length} pieces are too long to find their merges: no vocabulary that we know of comes near`,
    )
}
