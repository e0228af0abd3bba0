/**
 * An engine that says what a test tells it: prompts and their checks are a tiny model's, and the
 * tokens of answers are the bytes of given texts.
 */

import { createStopMatcher } from '../../src/decode/stop.ts'
import type { Answer, DoneEvent, Engine, GenerateEvent, GenerateRequest, TextService } from '../../src/index.ts'
import { createDetokenizer } from '../../src/stream/detokenize.ts'

/** Returns the text of the next answer. */
export type Script = (request: GenerateRequest, prompt: string) => string

export interface Scripted {
  readonly service: TextService
  /** The requests so far. */
  readonly requests: GenerateRequest[]
  /** The texts of their prompts, with special tokens. */
  readonly prompts: string[]
}

/**
 * Wraps an engine. Texts may contain special tokens, which are shown only if the request asks for
 * it. `size` is the number of bytes that a token event adds: tokens of a byte are the smallest.
 */
export function scripted(engine: Engine, script: Script): Scripted {
  const requests: GenerateRequest[] = []
  const prompts: string[] = []
  const { tokenizer } = engine
  const textOf = (ids: readonly number[]) =>
    new TextDecoder().decode(Uint8Array.from(ids.flatMap((id) => [...tokenizer.tokenBytes(id)])))

  function submit(request: GenerateRequest): Answer {
    const inner = engine.submit({ ...request, maxTokens: 1, guide: undefined })
    const prompt = textOf(engine.promptIds(request.prompt, request))
    requests.push(request)
    prompts.push(prompt)
    const ids = tokenizer.encode(script(request, prompt), { special: true })
    const events = eventsOf(request, ids)
    return new Proxy(inner, {
      get(target, name) {
        if (name === Symbol.asyncIterator) return () => events
        const value = Reflect.get(target, name, target)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })

    async function* eventsOf(request: GenerateRequest, ids: readonly number[]): AsyncGenerator<GenerateEvent> {
      let done: DoneEvent | undefined
      for await (const event of inner) {
        if (event.type === 'prompt') yield event
        if (event.type === 'done') done = event
      }
      const detokenizer = createDetokenizer(tokenizer, { show: new Set(request.showSpecial) })
      const stops = createStopMatcher(request.stop ?? [])
      const most = request.maxTokens ?? Number.POSITIVE_INFINITY
      let text = ''
      let stopped = false
      const shown: number[] = []
      for (const id of ids.slice(0, most)) {
        const next = stops.push(detokenizer.push(id))
        shown.push(id)
        text += next.text
        yield { type: 'token', id, logprob: -0.5, text: next.text }
        stopped = next.stopped
        if (stopped) break
      }
      const rest = stopped ? '' : detokenizer.flush() + stops.flush()
      const [end = 0] = engine.archive.tokenizer.eosIds
      if (ids.length < most) {
        text += rest
        shown.push(end)
        yield { type: 'token', id: end, logprob: -0.1, text: rest }
      }
      const finishReason = ids.length < most || stopped ? 'stop' : 'length'
      const stop = stops.found === undefined ? {} : { stop: stops.found }
      if (done) yield { ...done, finishReason, text, ids: shown, ...stop }
    }
  }
  const service = new Proxy<TextService>(engine, {
    get(target, name) {
      if (name === 'submit') return submit
      // It follows its script, whatever the guide.
      if (name === 'guides') return {}
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  return { service, requests, prompts }
}
