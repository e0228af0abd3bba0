/** A server on a local socket that records clients' requests, so that they can be replayed. */
import { createApp, serveNode } from '../../../edge/node.ts'
import type { Engine } from '../../../src/index.ts'
import { testConfig, tinyEngine } from '../../helpers/tiny-server.ts'

export interface Recorded {
  readonly path: string
  readonly headers: Headers
  readonly body: string
  status: number
}

export class RecordingServer {
  readonly url: string
  readonly sent: Recorded[] = []
  readonly engine: Engine
  readonly #close: () => Promise<void>

  static async start(): Promise<RecordingServer> {
    const engine = await tinyEngine()
    const app = createApp({ engine, config: { ...testConfig, models: ['tiny'] } })
    const sent: Recorded[] = []
    const serving = await serveNode({
      port: 0,
      fetch: async (request, ...rest) => {
        if (request.method !== 'POST') return app.fetch(request, ...rest)
        const body = await request.text()
        const { headers, method, signal, url } = request
        const recorded: Recorded = { path: new URL(url).pathname, headers: new Headers(headers), body, status: 0 }
        sent.push(recorded)
        const response = await app.fetch(new Request(url, { method, headers, body, signal }), ...rest)
        recorded.status = response.status
        return response
      },
    })
    return new RecordingServer(serving.url, sent, engine, async () => {
      await serving.close()
      await engine.close()
    })
  }

  private constructor(url: string, sent: Recorded[], engine: Engine, close: () => Promise<void>) {
    this.url = url
    this.sent = sent
    this.engine = engine
    this.#close = close
  }

  close(): Promise<void> {
    return this.#close()
  }

  /** Sends a recorded request again; resolves with its status after reading the answer. */
  async replay({ path, headers, body }: Recorded): Promise<number> {
    const kept = [...headers].filter(
      ([name]) => !/^(host|connection|content-length|transfer-encoding|expect)$/.test(name),
    )
    const response = await fetch(this.url + path, { method: 'POST', headers: kept, body })
    await response.text()
    return response.status
  }

  /** Resolves when no answer is in progress. */
  async idle(): Promise<void> {
    for (let tries = 0; tries < 1000; tries++) {
      const { running, waiting, pages_in_use, prefix_pages } = this.engine.stats
      if (running === 0 && waiting === 0 && pages_in_use === prefix_pages) return
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    throw new Error('a client that had left kept its pages')
  }
}
