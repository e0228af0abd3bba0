/** Tests a text worker as a web worker, with a stub of the platform's. */
import { afterEach, expect, test, vi } from 'vitest'
import type { FromTextWorker, ToTextWorker } from '../../src/tokens/text-messages.ts'
import { serveText } from '../../src/tokens/text-worker.ts'
import { TokenizerWorker } from '../../src/tokens/tokenizer-worker.ts'
import { webText } from '../../workers/web.ts'
import { smallSpec, smallTokenizer } from '../helpers/small-bpe.ts'

afterEach(() => vi.unstubAllGlobals())

class StubWorker extends EventTarget {
  static readonly made: StubWorker[] = []
  readonly options: unknown
  terminated = false
  readonly #serve = serveText((message: FromTextWorker) =>
    this.dispatchEvent(new MessageEvent('message', { data: structuredClone(message) })),
  )
  constructor(_: URL, options: unknown) {
    super()
    this.options = options
    StubWorker.made.push(this)
  }
  postMessage(message: ToTextWorker): void {
    queueMicrotask(() => this.#serve(structuredClone(message)))
  }
  terminate(): void {
    this.terminated = true
  }
}

test('encodes prompts with cloneable messages, and can be ended', async () => {
  vi.stubGlobal('Worker', StubWorker)
  const spec = smallSpec('{{ messages[0].content }}')
  const service = new TokenizerWorker({ spawn: webText(new URL('https://example.test/text.js')), spec, context: 1000 })
  const { ids } = await service.read('hello <|im_end|>', {}, undefined)
  expect(ids).toEqual(smallTokenizer().encode('hello <|im_end|>'))
  await expect(service.read('word '.repeat(2000), { raw: true }, undefined)).rejects.toMatchObject({
    code: 'context_exceeded',
  })
  service.close()
  expect(StubWorker.made).toMatchObject([{ options: { type: 'module' }, terminated: true }])
})

test('reports why it failed', async () => {
  vi.stubGlobal('Worker', StubWorker)
  const reasons: string[] = []
  webText(new URL('https://example.test/text.js'))({ message: () => {}, ended: (reason) => reasons.push(reason) })
  const event = Object.assign(new Event('error'), { message: 'no such script' })
  StubWorker.made.at(-1)!.dispatchEvent(event)
  StubWorker.made.at(-1)!.dispatchEvent(new Event('error'))
  expect(reasons).toEqual(['no such script', 'it failed'])
})
