/** A Worker with only the isolate's engine, to test loading and running inside workerd. */
import { env as bindings, waitUntil } from 'cloudflare:workers'
import { Isolate, type WeightsEnv } from '../../../edge/isolate.ts'
import type { R2Like } from '../../../edge/stores.ts'
import { asForetokenError, type GenerateRequest, openGuides } from '../../../src/index.ts'
import { instantiate } from '../../../wasm/dist/guide/guide.js'
import guide from '../../../wasm/dist/guide/guide.wasm'
import relaxed from '../../../wasm/dist/relaxed.wasm'
import simd128 from '../../../wasm/dist/simd128.wasm'

/** `wrangler dev` gives a test no way to its buckets but through the Worker. */
interface Env extends WeightsEnv {
  readonly WEIGHTS: R2Like & { put(key: string, value: ArrayBuffer): Promise<unknown> }
}

const env = bindings as unknown as Env
const isolate = new Isolate({ relaxed, simd128 }, async () => openGuides(() => instantiate(guide)))

export default {
  async fetch(request: Request): Promise<Response> {
    try {
      const path = new URL(request.url).pathname
      if (request.method === 'PUT') {
        await env.WEIGHTS.put(path.slice(1), await request.arrayBuffer())
        return new Response()
      }
      const engine = await isolate.engine(env, waitUntil)
      if (path === '/stats')
        return Response.json({ ...engine.stats, wasm_bytes: engine.backend.memoryBytes(), build: engine.backend.build })
      const asked = (await request.json()) as GenerateRequest
      if (path === '/stream') return streamed(engine.submit({ ...asked, signal: request.signal }))
      return Response.json(await engine.submit(asked).result())
    } catch (error) {
      const { code, message } = asForetokenError(error)
      return Response.json({ error: { code, message } }, { status: 500 })
    }
  },
}

/** One line of JSON for each event; a reader that leaves cancels. */
function streamed(events: AsyncIterable<unknown>): Response {
  const lines = new TextEncoder()
  const iterator = events[Symbol.asyncIterator]()
  return new Response(
    new ReadableStream({
      async pull(controller) {
        const { value, done } = await iterator.next()
        if (done) controller.close()
        else controller.enqueue(lines.encode(`${JSON.stringify(value)}\n`))
      },
      async cancel() {
        await iterator.return?.()
      },
    }),
  )
}
