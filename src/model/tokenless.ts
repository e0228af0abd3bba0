/** Finds rows of the embedding without a token: padding up to a round number, and holes. */
import { ForetokenError } from '../base/errors.ts'
import type { ModelArchive, TokenizerSpec } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { isObject, show } from './json.ts'

/** Yields the ids that a tokenizer.json names; the tokenizer's check handles invalid ones. */
export function* tokenIdsOf({ json }: TokenizerSpec): Generator<unknown> {
  const { model, added_tokens: added } = json
  const vocab = isObject(model) ? model.vocab : undefined
  if (Array.isArray(vocab)) yield* vocab.keys()
  else if (isObject(vocab)) for (const token in vocab) yield vocab[token]
  if (Array.isArray(added)) for (const entry of added) if (isObject(entry)) yield entry.id
}

/**
 * Returns those of `rows` rows that have no token, ascending. Throws `bad_model` for a token
 * without a row.
 */
export function tokenlessRows(ids: Iterable<unknown>, rows: number, where: string): Uint32Array {
  const taken = new Uint8Array(rows)
  let count = 0
  for (const id of ids) {
    if (!isWhole(id, 0, rows - 1))
      throw new ForetokenError(
        'bad_model',
        `${where}: a token has the id ${show(id)}, and the embedding ${rows} rows: the tokenizer is not this model's`,
      )
    if (taken[id as number] === 0) count++
    taken[id as number] = 1
  }
  const free = new Uint32Array(rows - count)
  let at = 0
  for (let row = 0; row < rows; row++) if (taken[row] === 0) free[at++] = row
  return free
}

/**
 * Returns a warning for each token that should end an answer and has no text, since its row is
 * never drawn. `tokenless` ascends.
 */
export function endWarnings({ eosIds }: TokenizerSpec, tokenless: Uint32Array, where: string): string[] {
  return eosIds
    .filter((id) => tokenless.includes(id))
    .map((id) => `${where}: token ${id} should end an answer, and the tokenizer has no such token: it is never drawn`)
}

/**
 * Masks rows without a token and those beyond the vocabulary, so that they are never drawn or
 * listed. `logits` are those of one position.
 */
export function maskTokenless(
  logits: Float32Array,
  { config, tokenless }: Pick<ModelArchive, 'config' | 'tokenless'>,
): void {
  for (const row of tokenless) logits[row] = Number.NEGATIVE_INFINITY
  logits.fill(Number.NEGATIVE_INFINITY, config.vocab)
}

/** Returns the number of rows after the last one that has a token. */
export function paddingOf(tokenless: Uint32Array, rows: number): number {
  let padding = 0
  while (padding < tokenless.length && tokenless[tokenless.length - 1 - padding] === rows - 1 - padding) padding++
  return padding
}
