/** Clients of a server with several models, as `soak-models.ts` sends them: well-behaved ones, and others. */
import { eventsOf } from '../../bench/sse.ts'
import type { Random } from '../helpers/random.ts'

/** A question, and what the model answers when it is alone. */
export interface Expected {
  readonly content: string
  readonly text: string
}

export type Outcome = 'answered' | 'left' | 'refused' | 'unknown'

export interface SoakOptions {
  readonly fetch: (request: Request) => Response | Promise<Response>
  readonly rng: Random
  /** Called with what must not happen. */
  readonly fault: (what: string) => void
}

export class SoakClient {
  readonly #options: SoakOptions
  /** Models of the answers that are being read, by number. */
  readonly #reading = new Map<number, string>()
  #requests = 0
  /** Pieces of text that came so far, of all answers. */
  pieces = 0

  constructor(options: SoakOptions) {
    this.#options = options
  }

  /** Returns the numbers of answers of other models that are being read. */
  streams(except: string): number[] {
    return [...this.#reading].flatMap(([id, model]) => (model === except ? [] : id))
  }

  /** Returns whether an answer is still being read. */
  runs(id: number): boolean {
    return this.#reading.has(id)
  }

  /** Sends one request of a random kind. */
  async ask(models: readonly string[], expected: ReadonlyMap<string, readonly Expected[]>): Promise<Outcome> {
    const { rng } = this.#options
    const kind = rng.unit()
    const model = models[rng.below(models.length)] ?? ''
    if (kind < 0.08) return this.#refused('missing', 503, 'refused')
    if (kind < 0.16) return this.#refused('broken', 503, 'refused')
    if (kind < 0.2) return this.#refused('nobody-knows-it', 404, 'unknown')
    if (kind < 0.45) return this.#leaves(model, rng.below(300))
    return this.answer(model, expected.get(model) ?? [])
  }

  /** Reads a whole answer, and compares it. */
  async answer(model: string, expected: readonly Expected[]): Promise<Outcome> {
    const { rng, fault } = this.#options
    const one = expected[rng.below(expected.length)]
    const response = await this.#send(model, one?.content ?? 'hello')
    if (response.status !== 200 || !response.body) {
      fault(`${model}: ${response.status} ${await response.text()}`)
      return 'answered'
    }
    let text = ''
    for await (const piece of this.#read(model, response.body)) text += piece
    if (text !== one?.text) fault(`${model} answered ${JSON.stringify(text)} and alone ${JSON.stringify(one?.text)}`)
    return 'answered'
  }

  /** Leaves after some time, whatever has come by then. */
  async #leaves(model: string, ms: number): Promise<Outcome> {
    const leaving = new AbortController()
    const timer = setTimeout(() => leaving.abort(), ms)
    try {
      const response = await this.#send(model, 'hello', leaving.signal)
      if (response.status === 200 && response.body)
        for await (const _ of this.#read(model, response.body, leaving.signal)) if (leaving.signal.aborted) break
    } catch (error) {
      if (!leaving.signal.aborted) this.#options.fault(`${model}: ${error}`)
    } finally {
      clearTimeout(timer)
    }
    return 'left'
  }

  async #refused(model: string, status: number, outcome: Outcome): Promise<Outcome> {
    const response = await this.#send(model, 'hello')
    const text = await response.text()
    if (response.status !== status) this.#options.fault(`${model}: ${response.status}, not ${status}: ${text}`)
    return outcome
  }

  async *#read(model: string, body: ReadableStream<Uint8Array>, left?: AbortSignal): AsyncGenerator<string> {
    const id = ++this.#requests
    this.#reading.set(id, model)
    let ended = false
    try {
      for await (const { data } of eventsOf(body)) {
        ended = data === '[DONE]'
        if (ended) break
        const piece = JSON.parse(data).choices?.[0]?.delta?.content
        if (!piece) continue
        this.pieces++
        yield piece
      }
      if (!ended && !left?.aborted) this.#options.fault(`an answer of ${model} broke off`)
    } finally {
      this.#reading.delete(id)
    }
  }

  async #send(model: string, content: string, signal?: AbortSignal): Promise<Response> {
    const messages = [{ role: 'user', content }]
    const body = JSON.stringify({ model, messages, stream: true, max_tokens: 24, temperature: 0 })
    const headers = { 'content-type': 'application/json', host: 'localhost' }
    const address = 'http://localhost/v1/chat/completions'
    return this.#options.fetch(new Request(address, { method: 'POST', headers, body, signal: signal ?? null }))
  }
}
