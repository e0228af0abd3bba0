import { expect, test } from 'vitest'
import { Places } from '../../src/onnx/places.ts'

test('places go to who asked first; one that left is passed over; giving back twice is once', async () => {
  const places = new Places(2, 3)
  const [one, two] = [await places.take(), await places.take()]
  const order: string[] = []
  const control = new AbortController()
  const waits = (name: string, signal?: AbortSignal) =>
    places.take(signal).then((give) => {
      order.push(name)
      return give
    })
  const [a, b, c] = [waits('a'), waits('b', control.signal), waits('c')]
  expect([places.taken, places.waiting]).toEqual([2, 3])
  expect(() => places.check()).toThrow(expect.objectContaining({ code: 'busy' }))
  await expect(places.take()).rejects.toMatchObject({ code: 'busy' })
  control.abort(new Error('gone'))
  await expect(b).rejects.toMatchObject({ code: 'aborted' })
  one()
  one()
  await a
  expect([order, places.waiting]).toEqual([['a'], 1])
  two()
  expect(order).toEqual(['a'])
  for (const give of [await a, await c]) give()
  expect([order, places.taken, places.waiting]).toEqual([['a', 'c'], 0, 0])
  await expect(places.take(AbortSignal.abort())).rejects.toMatchObject({ code: 'aborted' })
  expect(places.taken).toBe(0)
})
