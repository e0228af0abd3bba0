/**
 * A companion at a set speed, behind a network with set delays: the far end of
 * `bench/route/real.ts`, as a process of its own.
 *
 *     node bench/route/companion-main.ts MODEL MS_PER_TOKEN KEY
 *
 * Prints its port. Then it reads links as lines of JSON on stdin, and acknowledges each with `ok`.
 */
import { createInterface } from 'node:readline'
import { createCompanion } from '../../companion/app.ts'
import { serveNode } from '../../edge/node.ts'
import { loadEngine } from '../../node/index.ts'
import { keyBytes } from '../../src/index.ts'
import { type Link, startProxy } from './proxy.ts'
import { slow } from './slowed.ts'

const [model, msPerToken, key] = process.argv.slice(2)
if (!model || !msPerToken || !key) throw new Error('usage: companion-main.ts MODEL MS_PER_TOKEN KEY')
// Without a prefix cache, so every prompt is read.
const engine = await loadEngine(model, { threads: 1, prefixBytes: 0 })
slow(engine, Number(msPerToken))
const app = createCompanion({ engine, edges: [{ id: 'edge', key: keyBytes(key) }] })
const serving = await serveNode({ fetch: app.fetch, port: 0 })
let link: Link = { rtt_ms: 5, mbit_s: 500, loss: 0 }
const proxy = await startProxy(Number(new URL(serving.url).port), () => link, 1)
console.log(proxy.port)
for await (const line of createInterface({ input: process.stdin })) {
  link = JSON.parse(line)
  console.log('ok')
}
process.exit(0)
