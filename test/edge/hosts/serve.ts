/** A server for the tests' clients, on whatever runs this file; its address is its first line. */
import { createApp } from '../../../edge/index.ts'
import { testConfig, tinyEngine } from '../../helpers/tiny-server.ts'

const app = createApp({ engine: await tinyEngine(), config: { ...testConfig, models: ['tiny'] } })
const listen = async () => {
  const options = { fetch: app.fetch, port: 0 }
  if ('Deno' in globalThis) return (await import('../../../edge/deno.ts')).serveDeno(options)
  if ('Bun' in globalThis) return (await import('../../../edge/bun.ts')).serveBun(options)
  return (await import('../../../edge/node.ts')).serveNode(options)
}
console.log((await listen()).url)
