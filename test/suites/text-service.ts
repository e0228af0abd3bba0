/**
 * Tests of the contract of `TextService` and `Answer`: the same for an engine, an ONNX engine, and
 * a routed service.
 */
import { getEventListeners } from 'node:events'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  ForetokenError,
  type GenerateEvent,
  type GenerateRequest,
  isAnyEngine,
  type Outcome,
  type TextService,
} from '../../src/index.ts'
import { randomPrompt } from '../helpers/answers.ts'

/** A service under test. */
export interface Subject {
  readonly service: TextService
  /** Returns true if nothing is held by any request. */
  idle(): boolean
  /** False if the prompt is read elsewhere, without progress. Default true. */
  readonly progress?: boolean
  /** Closes what is not the service's own. */
  close?(): Promise<unknown>
}

async function eventsOf(events: AsyncIterable<GenerateEvent>): Promise<GenerateEvent[]> {
  const all: GenerateEvent[] = []
  for await (const event of events) all.push(event)
  return all
}

/** Returns ids, in a form that all events of an answer must agree with. */
function idsOf(events: readonly GenerateEvent[]): readonly number[] {
  const tokens = events.flatMap((event) => (event.type === 'token' ? [event] : []))
  const done = events.at(-1)
  expect(events.map(({ type }) => type)).toEqual(['prompt', ...tokens.map(() => 'token'), 'done'])
  if (done?.type !== 'done') throw new Error('the last event is not done')
  expect(done.ids).toEqual(tokens.map(({ id }) => id))
  expect(done.text).toBe(tokens.map(({ text }) => text).join(''))
  return done.ids
}

export function describeTextService(name: string, open: () => Promise<Subject>): void {
  describe(name, () => {
    let subject: Subject
    let service: TextService
    beforeAll(async () => {
      subject = await open()
      service = subject.service
    })
    afterAll(async () => {
      await service.close()
      await subject.close?.()
    })

    const prompt = randomPrompt(80, 7)
    const request = (change: Partial<GenerateRequest> = {}): GenerateRequest => ({
      prompt,
      maxTokens: 6,
      ignoreEos: true,
      ...change,
    })
    /** Long enough that nothing ends by itself. */
    const long = (change: Partial<GenerateRequest> = {}) => request({ maxTokens: 300, ...change })
    const busy = () => service.stats.running + service.stats.waiting

    async function expectIdle(signal?: AbortSignal): Promise<void> {
      await expect.poll(() => subject.idle() && busy() === 0, { timeout: 20_000, interval: 2 }).toBe(true)
      if (signal) expect(getEventListeners(signal, 'abort')).toEqual([])
    }

    test('has the members of one', () => {
      expect(isAnyEngine(service)).toBe(true)
      expect(service.context).toBeGreaterThan(0)
      expect(service.tokenizer.decode(service.promptIds('abc', { raw: true }))).toContain('abc')
      expect(service.archive.name).toEqual(expect.any(String))
      expect(service.backend.build).toEqual(expect.any(String))
      expect(service.loadMs).toBeGreaterThan(0)
    })

    test('every method gives the same answer', async () => {
      const ids = idsOf(await eventsOf(service.submit(request())))
      expect(ids).toHaveLength(6)
      const { prompt: _, ...options } = request()
      expect(idsOf(await eventsOf(service.generate(prompt, options)))).toEqual(ids)
      expect(idsOf(await eventsOf(service.generate(request())))).toEqual(ids)
      expect(idsOf(await eventsOf(service.submit(request({ prompt: await service.prepare(prompt) }))))).toEqual(ids)
      expect((await service.submit(request()).result()).ids).toEqual(ids)
      const outcomes: Outcome[] = []
      for await (const outcome of service.generateMany([request({ id: 'a' }), request()])) outcomes.push(outcome)
      outcomes.sort((a, b) => a.index - b.index)
      expect(outcomes).toMatchObject([
        { index: 0, id: 'a', result: { ids } },
        { index: 1, result: { ids } },
      ])
      await expectIdle()
    })

    test('`submit` accepts a request at once, `generate` with the first event', async () => {
      const events = service.generate(long())
      expect(busy()).toBe(0)
      const answer = service.submit(long({ id: 'mine' }))
      expect(answer.id).toBe('mine')
      expect(answer.soFar.timings.prompt_tokens).toBe(prompt.length)
      answer.cancel()
      await expectIdle()
      await events.next()
      await events.next()
      expect(subject.idle() && busy() === 0).toBe(false)
      await events.return(undefined)
      await expectIdle()
    })

    test('`submit` throws and `generate` rejects for an impossible prompt', async () => {
      const tooLong = request({ prompt: randomPrompt(service.context + 1, 1) })
      for (const [bad, code] of [
        [tooLong, 'context_exceeded'],
        [request({ prompt: '', raw: true }), 'empty_prompt'],
        [request({ prompt: null as never }), 'bad_argument'],
      ] as const) {
        expect(() => service.submit(bad)).toThrow(expect.objectContaining({ code }))
        await expect(service.generate(bad).next()).rejects.toMatchObject({ code })
        for await (const outcome of service.generateMany([bad])) expect(outcome.error).toMatchObject({ code })
      }
      await expectIdle()
    })

    test.each([0, 1, 3])('an answer that is cancelled after %d events', async (count) => {
      const answer = service.submit(long())
      const events = answer[Symbol.asyncIterator]()
      for (let at = 0; at < count; at++) await events.next()
      answer.cancel()
      answer.cancel()
      await expectIdle()
      const rest = eventsOf({ [Symbol.asyncIterator]: () => events })
      await expect(rest).rejects.toMatchObject({ name: 'ForetokenError', code: 'aborted' })
      // What has failed is over.
      expect(await events.next()).toEqual({ done: true, value: undefined })
    })

    test.each([0, 1, 3])('an answer whose signal aborts after %d events, and that is not read on', async (count) => {
      const control = new AbortController()
      const answer = service.submit(long({ signal: control.signal }))
      const events = answer[Symbol.asyncIterator]()
      for (let at = 0; at < count; at++) await events.next()
      control.abort()
      await expectIdle(control.signal)
    })

    test('an answer whose signal was aborted before', async () => {
      const answer = service.submit(long({ signal: AbortSignal.abort() }))
      await expect(answer.result()).rejects.toMatchObject({ code: 'aborted' })
      await expectIdle()
    })

    test.each([1, 3])('an answer that is left after %d events', async (count) => {
      const control = new AbortController()
      const seen: string[] = []
      for await (const { type } of service.submit(long({ signal: control.signal })))
        if (seen.push(type) === count) break
      expect(seen).toHaveLength(count)
      await expectIdle(control.signal)
    })

    test('an answer that is left during a wait for it', async () => {
      const answer = service.submit(long())
      const events = answer[Symbol.asyncIterator]()
      await events.next()
      const next = events.next()
      next.catch(() => {})
      await events.return?.()
      await next.catch(() => {})
      expect(await events.next()).toEqual({ done: true, value: undefined })
      await expectIdle()
    })

    test('an answer that is read to its last event, and not beyond', async () => {
      const control = new AbortController()
      const events = service.submit(request({ signal: control.signal }))[Symbol.asyncIterator]()
      while ((await events.next()).value?.type !== 'done');
      await expectIdle(control.signal)
    })

    test('a second reader gets what the first has not read', async () => {
      const whole = await eventsOf(service.submit(request()))
      const answer = service.submit(request())
      const first = answer[Symbol.asyncIterator]()
      const seen = [(await first.next()).value, (await first.next()).value, (await first.next()).value]
      for await (const event of answer) seen.push(event)
      expect(seen.map((event) => event?.type)).toEqual(whole.map(({ type }) => type))
      await expect(answer.result()).rejects.toMatchObject({ code: 'bad_argument' })
    })

    test('events that are requested concurrently arrive in order', async () => {
      const events = service.submit(request({ maxTokens: 2 }))[Symbol.asyncIterator]()
      const all = await Promise.all([1, 2, 3, 4].map(() => events.next()))
      expect(all.map(({ value }) => value?.type)).toEqual(['prompt', 'token', 'token', 'done'])
      await expectIdle()
    })

    test('an answer continues after shown tokens, and may be complete with them', async () => {
      const { ids } = await service.submit(request()).result()
      const rest = await eventsOf(service.submit(request({ after: ids.slice(0, 4) })))
      expect(rest.map(({ type }) => type)).toEqual(['prompt', 'token', 'token', 'done'])
      expect(rest.at(-1)).toMatchObject({ ids })
      const nothing = await eventsOf(service.submit(request({ after: ids })))
      expect(nothing.map(({ type }) => type)).toEqual(['prompt', 'done'])
      await expectIdle()
    })

    test('a callback that fails fails its request only', async () => {
      const onPrefill = () => {
        throw new Error('no')
      }
      if (subject.progress === false) return
      const failing = service.submit(request({ prompt: randomPrompt(90, 8), onPrefill }))
      const other = service.submit(request())
      const [failed, done] = await Promise.allSettled([failing.result(), other.result()])
      expect(failed).toMatchObject({ reason: { code: 'bad_argument', message: expect.stringContaining('onPrefill') } })
      expect(done).toMatchObject({ value: { type: 'done' } })
      await expectIdle()
    })

    test('`generateMany` keeps its concurrency, distinguishes failures, and cancels when it is left', async () => {
      let most = 0
      let pulled = 0
      function* source(): Generator<GenerateRequest> {
        for (;;) {
          most = Math.max(most, busy())
          pulled++
          yield pulled === 2 ? request({ temperature: -1 }) : request({ maxTokens: 2 })
        }
      }
      let [results, errors] = [0, 0]
      for await (const { error } of service.generateMany(source(), { concurrency: 2 })) {
        if (error) errors++
        else results++
        if (error) expect(error).toBeInstanceOf(ForetokenError)
        if (results === 4) break
      }
      expect(errors).toBe(1)
      expect(most).toBeLessThanOrEqual(2)
      expect(pulled).toBeLessThanOrEqual(8)
      await expectIdle()
    })

    test('closing ends every answer, read or not, and accepts no more', async () => {
      const { service, idle, close } = await open()
      const reading = service.submit(long())
      const events = reading[Symbol.asyncIterator]()
      for (let at = 0; at < 3; at++) await events.next()
      const unread = service.submit(long())
      const next = events.next()
      next.catch(() => {})
      await service.close()
      await service.close()
      expect(service.stats).toMatchObject({ running: 0, waiting: 0 })
      const closed = { code: 'aborted', message: 'the engine was closed' }
      const rest = (async () => {
        await next
        for (;;) if ((await events.next()).done) throw new Error('the answer ended without a failure')
      })()
      await expect(rest).rejects.toMatchObject(closed)
      await expect(unread.result()).rejects.toMatchObject(closed)
      expect(() => service.submit(request())).toThrow(expect.objectContaining(closed))
      await expect.poll(idle, { timeout: 20_000 }).toBe(true)
      await close?.()
    })
  })
}
