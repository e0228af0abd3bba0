/**
 * Slows an engine down: each row of each layer waits for its share, busily, as a slower core would.
 */
import type { Engine } from '../../src/index.ts'

/**
 * Adds up to `msPerToken` for each row that runs through all layers; rows that skip layers cost
 * proportionally less.
 */
export function slow(engine: Engine, msPerToken: number): void {
  const { backend, archive } = engine
  // Two products of a layer add to the state: those of attention and of the MLP.
  const perRow = msPerToken / (2 * archive.config.layers)
  const matmulAdd = backend.matmulAdd.bind(backend)
  let last = performance.now()
  backend.matmulAdd = (out, x, weight, rows) => {
    matmulAdd(out, x, weight, rows)
    // Time of the layer's other kernels since the last wait counts, too.
    const until = Math.max(last, performance.now() - perRow * rows) + perRow * rows
    while (performance.now() < until);
    last = performance.now()
  }
}
