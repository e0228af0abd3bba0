/**
 * Preloaded into a server under test (`--import`); writes a line about its heap to stderr at each
 * SIGUSR2, sizes in bytes.
 */
import { getHeapSpaceStatistics } from 'node:v8'
import { isMainThread } from 'node:worker_threads'

if (isMainThread)
  process.on('SIGUSR2', () => {
    const { heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage()
    const young = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space').space_size
    process.stderr.write(`heap ${JSON.stringify({ heapUsed, heapTotal, young, external, arrayBuffers })}\n`)
  })
