/** A server's heap stays small whatever its objects do: in a process of its own, since V8's flags are the process's. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const heap = new URL('../../cli/heap.ts', import.meta.url)

/** Objects that live for some collections, and a thread that is started among them. `small` keeps the heap small. */
const program = (small: boolean) => `
import { getHeapSpaceStatistics } from 'node:v8'
import { Worker } from 'node:worker_threads'
${small ? `import { keepHeapSmall } from '${heap}'; keepHeapSmall()` : ''}
const young = () => getHeapSpaceStatistics().find((one) => one.space_name === 'new_space').space_size
const alive = new Array(150_000)
let committed = 0
async function work() {
  const sizes = []
  for (let n = 0; n < 6e6; n++) {
    alive[n % alive.length] = { n, list: [n] }
    if (n % 20_000 > 0) continue
    committed = Math.max(committed, process.memoryUsage().heapTotal)
    sizes.push(young())
    await new Promise(setImmediate)
  }
  // The median: a collection may use pages beyond the size of the space, and gives them back.
  return sizes.sort((a, b) => a - b)[sizes.length >> 1]
}
const before = await work()
const worker = new Worker('', { eval: true })
await new Promise((resolve) => worker.once('exit', resolve))
const after = await work()
console.log(JSON.stringify({ before, after, committed }))`

async function sizes(small: boolean): Promise<Record<'before' | 'after' | 'committed', number>> {
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', program(small)]
  return JSON.parse((await promisify(execFile)(process.execPath, args)).stdout)
}

test('the heap stays small where objects outlive collections, and after a thread was started', async () => {
  const [usual, small] = [await sizes(false), await sizes(true)]
  // V8's default, without which this test would show nothing.
  expect(usual.after).toBeGreaterThanOrEqual(32 << 20)
  expect(small.before).toBeLessThanOrEqual(8 << 20)
  // One collection may fall into the moment in which the thread starts.
  expect(small.after).toBeLessThanOrEqual(16 << 20)
  expect(small.committed).toBeLessThan(usual.committed)
})
