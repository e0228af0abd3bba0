/** A server for the tests' clients, on whatever runs this file; its address is its first line. */
import { createApp } from '../../../edge/index.ts'
import { loadGuides as guides } from '../../../node/guides.ts'
import { testConfig, tinyEngine } from '../../helpers/tiny-server.ts'

/** A conversation with tools takes more context than others. */
const context = 2048

/** As a program on this host would load it. */
async function engine() {
  if ('Deno' in globalThis)
    return tinyEngine({ guides, spawnText: (await import('../../../edge/deno.ts')).spawnText }, context)
  if ('Bun' in globalThis)
    return tinyEngine({ guides, spawnText: (await import('../../../edge/bun.ts')).spawnText }, context)
  return tinyEngine({ guides }, context)
}
const app = createApp({ engine: await engine(), config: { ...testConfig, models: ['tiny'] } })
const listen = async () => {
  const options = { fetch: app.fetch, port: 0 }
  if ('Deno' in globalThis) return (await import('../../../edge/deno.ts')).serveDeno(options)
  if ('Bun' in globalThis) return (await import('../../../edge/bun.ts')).serveBun(options)
  return (await import('../../../edge/node.ts')).serveNode(options)
}
console.log((await listen()).url)
