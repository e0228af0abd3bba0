/**
 * How far V8's heap may grow in a server. By default V8 trades memory for time: it doubles the
 * young generation whenever as much has survived its collections as it holds, so that a server that
 * runs long enough reaches the maximum (100 to 200 MB in Node 24) however little is alive; and it
 * lets the old generation grow to several times what is alive before it collects. A server
 * allocates little for a token, nearly all of it dies within a pass, and what is alive is some 25
 * MB: small limits cost it next to nothing.
 */
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'

/** Bytes of the young generation, both halves. */
const youngBytes = 8 << 20

/** How far the old generation may grow over what the last collection left, in percent; V8 allows 8 MB at least. */
const oldPercent = 25

/** More objects than the young generation is ever to hold. */
const mostFilling = 1 << 20

/**
 * Keeps the heap of this thread small from here on; what it has grown to stays. V8 reads its limits
 * when a heap is made: the two factors by which it grows are all that a running program can change,
 * on Node 20, 22 and 24.
 */
export function keepHeapSmall(): void {
  setFlagsFromString(`--heap-growing-percent=${oldPercent}`)
  growYoung()
  holdYoung()
  // On Node 20 and 22 a new thread's heap sets the factor back to 2 for all threads. A collection
  // before this may double the young generation once more.
  process.on('worker', (worker) => worker.once('online', holdYoung))
}

/** V8 begins with half a MiB to 1 MiB a half, and grows only for what survives. */
function growYoung(): void {
  const survivors: object[] = []
  while (2 * young() <= youngBytes && survivors.length < mostFilling)
    for (let i = 0; i < 4096; i++) survivors.push({ i, list: [i] })
}

/** V8 may still shrink it, as it does where little is allocated. */
function holdYoung(): void {
  setFlagsFromString('--semi-space-growth-factor=1')
}

function young(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_size ?? youngBytes
}
