/**
 * What a pass's kernels look up: page lists, runs of rows, RoPE angles, as one array of words.
 *
 *     pages    page ids of each segment, one list behind the other
 *     blocks   (first row, rows, cache position of the first, its segment's place in `pages`, tokens of the segment's cache): up to
 *              8 rows that attend together
 *     tiles    (first row, rows, page, token of the page): rows that are written into one page
 *     angles   f32: cosines and sines of each row, (rows, turned), for each rotation
 */

import { at } from '../../base/at.ts'
import { ForetokenError } from '../../base/errors.ts'
import { pageTokens } from '../../base/kv.ts'
import type { RopeSpec } from '../../base/model.ts'
import type { Segment } from '../../base/pass.ts'
import { type Frequencies, writeAngles } from '../frequencies.ts'
import { blockWords, queryRows } from './shaders/attention.ts'

export interface Window {
  /** First row of the window on the flat axis, and its rows. */
  readonly row: number
  readonly rows: number
  /** Word at which the window's blocks begin, and their number; likewise for tiles. */
  readonly blocks: number
  readonly blockCount: number
  readonly tiles: number
  readonly tileCount: number
}

export interface Tables {
  readonly words: Uint32Array<ArrayBuffer>
  /** Word at which page lists begin. */
  readonly pages: number
  /** Words at which the angles of each rotation begin. */
  readonly angles: readonly number[]
  window(from: number, to: number): Window
}

/** Makes the tables of a pass. `frequencies` are those of each rotation, from `frequenciesOf`. */
export function tablesOf(
  segments: readonly Segment[],
  ropes: readonly RopeSpec[],
  frequencies: readonly Frequencies[],
): Tables {
  const pages: number[] = []
  const blocks: number[] = []
  const tiles: number[] = []
  /** Entries before each segment. */
  const before: { readonly blocks: number; readonly tiles: number; readonly row: number }[] = []
  let row = 0
  segments.forEach(({ start, length, past, pages: list }, index) => {
    if (start !== row || list.length * pageTokens < past + length)
      throw new ForetokenError('internal', `segment ${index} begins at ${start}, not ${row}, or lacks pages`)
    before.push({ blocks: blocks.length / blockWords, tiles: tiles.length / 4, row })
    for (let first = 0; first < length; first += queryRows)
      blocks.push(row + first, Math.min(queryRows, length - first), past + first, pages.length, past + length)
    for (let first = 0; first < length; ) {
      const token = (past + first) % pageTokens
      const count = Math.min(pageTokens - token, length - first)
      tiles.push(row + first, count, at(list, Math.floor((past + first) / pageTokens)), token)
      first += count
    }
    for (const page of list) pages.push(page)
    row += length
  })
  before.push({ blocks: blocks.length / blockWords, tiles: tiles.length / 4, row })
  const [blocksAt, tilesAt] = [pages.length, pages.length + blocks.length]
  let end = tilesAt + tiles.length
  const angles = ropes.map(({ headDim, turned = headDim }) => {
    const begin = end
    end += row * turned
    return begin
  })
  const words = new Uint32Array(end)
  words.set(pages)
  words.set(blocks, blocksAt)
  words.set(tiles, tilesAt)
  for (const [index, turns] of frequencies.entries())
    writeAngles(new Float32Array(words.buffer, at(angles, index) * 4), segments, turns, at(ropes, index))
  return {
    words,
    pages: 0,
    angles,
    window(from, to) {
      const [begin, end] = [at(before, from), at(before, to)]
      return {
        row: begin.row,
        rows: end.row - begin.row,
        blocks: blocksAt + begin.blocks * blockWords,
        blockCount: end.blocks - begin.blocks,
        tiles: tilesAt + begin.tiles * 4,
        tileCount: end.tiles - begin.tiles,
      }
    },
  }
}
