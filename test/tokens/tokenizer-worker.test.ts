/** Tests the life cycle of a text worker with a stub. */
import { describe, expect, test } from 'vitest'
import { NoWorker } from '../../src/base/serial-worker.ts'
import type { FromTextWorker, SpawnText, ToTextWorker } from '../../src/tokens/text-messages.ts'
import { TokenizerWorker } from '../../src/tokens/tokenizer-worker.ts'
import { smallSpec } from '../helpers/small-bpe.ts'

interface Fake {
  readonly posted: ToTextWorker[]
  say(message: FromTextWorker): void
  end(reason: string): void
  terminated: boolean
}

function fakes(): { spawn: SpawnText; workers: Fake[] } {
  const workers: Fake[] = []
  const spawn: SpawnText = ({ message, ended }) => {
    const fake: Fake = { posted: [], say: message, end: ended, terminated: false }
    workers.push(fake)
    return {
      post: (posted) => void fake.posted.push(posted),
      terminate: () => {
        fake.terminated = true
      },
    }
  }
  return { spawn, workers }
}

const made = (options = {}) => {
  const { spawn, workers } = fakes()
  return { workers, service: new TokenizerWorker({ spawn, spec: smallSpec(), context: 100, ...options }) }
}
const raw = { raw: true }
const idOf = (worker: Fake) => (worker.posted.at(-1) as { id: number }).id
const answer = (worker: Fake, ids: number[]) =>
  worker.say({ type: 'ids', id: idOf(worker), ids: Uint32Array.from(ids), tokenizeMs: 1 })

describe('a text worker', () => {
  test('is started on demand, opened once, and kept', async () => {
    const { service, workers } = made()
    expect(workers).toHaveLength(0)
    for (const ids of [[1], [2, 3]]) {
      const reading = service.read('x', raw, undefined)
      workers[0]!.say({ type: 'opened' })
      answer(workers[0]!, ids)
      expect((await reading).ids).toEqual(ids)
    }
    expect(workers).toHaveLength(1)
    expect(workers[0]!.posted.map(({ type }) => type)).toEqual(['open', 'read', 'read'])
    service.close()
    expect(workers[0]!.terminated).toBe(true)
  })

  test('is ended when a prompt takes too long, and replaced', async () => {
    const { service, workers } = made({ deadlineMs: 5 })
    const late = service.read('x', raw, undefined)
    workers[0]!.say({ type: 'opened' })
    await expect(late).rejects.toMatchObject({ code: 'bad_model', message: /more than 5 ms/ })
    expect(workers[0]!.terminated).toBe(true)
    const next = service.read('x', raw, undefined)
    answer(workers[1]!, [7])
    expect((await next).ids).toEqual([7])
    service.close()
  })

  test('has a separate time limit for its start', async () => {
    const { service, workers } = made({ deadlineMs: 1, startMs: 60_000 })
    const reading = service.read('x', raw, undefined)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(workers[0]!.terminated).toBe(false)
    workers[0]!.say({ type: 'opened' })
    answer(workers[0]!, [1])
    expect((await reading).ids).toEqual([1])
    service.close()
  })

  test('is ended for an abandoned prompt, unless it finishes soon', async () => {
    const { service, workers } = made({ graceMs: 5 })
    const control = new AbortController()
    const reading = service.read('x', raw, control.signal)
    workers[0]!.say({ type: 'opened' })
    control.abort()
    await expect(reading).rejects.toMatchObject({ code: 'aborted' })
    expect(workers[0]!.terminated).toBe(true)

    const patient = made({ graceMs: 60_000 })
    const other = new AbortController()
    const soon = patient.service.read('x', raw, other.signal)
    other.abort()
    answer(patient.workers[0]!, [1])
    await expect(soon).rejects.toMatchObject({ code: 'aborted' })
    expect(patient.workers[0]!.terminated).toBe(false)
    for (const each of [service, patient.service]) each.close()
  })

  test('that dies fails its current prompt only', async () => {
    const { service, workers } = made()
    const first = service.read('x', raw, undefined)
    workers[0]!.say({ type: 'opened' })
    workers[0]!.end('reached its memory limit')
    await expect(first).rejects.toMatchObject({ code: 'out_of_memory' })
    const second = service.read('x', raw, undefined)
    workers[1]!.end('it exited with code 1')
    await expect(second).rejects.toMatchObject({ code: 'worker_lost' })
    const third = service.read('x', raw, undefined)
    // Messages of a worker that was ended are ignored.
    workers[0]!.say({ type: 'ids', id: idOf(workers[2]!), ids: Uint32Array.of(9), tokenizeMs: 0 })
    answer(workers[2]!, [3])
    expect((await third).ids).toEqual([3])
    service.close()
  })

  test('that never starts has an error of its own', async () => {
    const { service, workers } = made()
    const reading = service.read('x', raw, undefined)
    workers[0]!.end('no such script')
    await expect(reading).rejects.toBeInstanceOf(NoWorker)
    const refusing = new TokenizerWorker({
      spec: smallSpec(),
      context: 100,
      spawn: () => {
        throw new Error('workers are forbidden here')
      },
    })
    await expect(refusing.read('x', raw, undefined)).rejects.toBeInstanceOf(NoWorker)
    await expect(made({ startMs: 1 }).service.read('x', raw, undefined)).rejects.toBeInstanceOf(NoWorker)
  })

  test('that is idle is ended, and later started anew', async () => {
    const { service, workers } = made({ idleMs: 1 })
    const reading = service.read('x', raw, undefined)
    answer(workers[0]!, [1])
    await reading
    await expect.poll(() => workers[0]!.terminated).toBe(true)
    const next = service.read('x', raw, undefined)
    answer(workers[1]!, [2])
    expect((await next).ids).toEqual([2])
    service.close()
  })

  test('is ended with the engine, and its prompt is aborted', async () => {
    const { service } = made()
    const reading = service.read('x', raw, undefined)
    service.close()
    await expect(reading).rejects.toMatchObject({ code: 'aborted' })
  })
})
