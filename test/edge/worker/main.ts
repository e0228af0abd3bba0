/** A Worker with the isolate's engine and nothing before it: what is under test is loading and running inside workerd. */
import { Isolate, type WaitUntil, type WeightsEnv } from '../../../edge/isolate.ts'
import { asForetokenError, type GenerateRequest } from '../../../src/index.ts'
import relaxed from '../../../wasm/dist/relaxed.wasm'
import simd128 from '../../../wasm/dist/simd128.wasm'

const isolate = new Isolate({ relaxed, simd128 })

export default {
  async fetch(request: Request, env: WeightsEnv, context: { waitUntil: WaitUntil }): Promise<Response> {
    try {
      const engine = await isolate.engine(env, (work) => context.waitUntil(work))
      if (new URL(request.url).pathname === '/stats')
        return Response.json({ ...engine.stats, wasm_bytes: engine.backend.memoryBytes(), build: engine.backend.build })
      const asked = (await request.json()) as GenerateRequest
      if (new URL(request.url).pathname === '/stream')
        return streamed(engine.submit({ ...asked, signal: request.signal }))
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
