/** Cuts the part of a prompt that a stream holds into tiles: some layers of some tokens. */
import type { KvRange, KvShape } from './format.ts'

/** The fields that determine how a range is cut into tiles. */
export type KvTiles = Pick<KvRange, 'from' | 'to' | 'firstLayer' | 'tileTokens' | 'tileLayers'>

/** Some layers of some tokens. */
export interface WireTile {
  readonly index: number
  readonly from: number
  readonly to: number
  readonly layers: { readonly from: number; readonly to: number }
}

/** Returns the bytes of a tile's payload; undefined if only the maximum is known. */
export type TileBytes = (tile: WireTile) => number | undefined

/** Yields the tiles of a range in their order on the wire. */
export function* tilesOf({ layers }: Pick<KvShape, 'layers'>, range: KvTiles): Generator<WireTile> {
  const { from, to, firstLayer, tileTokens, tileLayers } = range
  let index = 0
  for (let at = from; at < to; at += tileTokens)
    for (let layer = firstLayer; layer < layers; layer += tileLayers)
      yield {
        index: index++,
        from: at,
        to: Math.min(to, at + tileTokens),
        layers: { from: layer, to: Math.min(layers, layer + tileLayers) },
      }
}

/** Returns how many tiles a range has. */
export function tileCount({ layers }: KvShape, { from, to, firstLayer, tileTokens, tileLayers }: KvRange): number {
  return Math.ceil((to - from) / tileTokens) * Math.ceil((layers - firstLayer) / tileLayers)
}
