/**
 * Limits the growth of V8's heap in a server. By default V8 trades memory for time. It doubles the
 * young generation whenever the survivors of collections add up to its size, so a server that runs
 * long enough reaches the maximum (100 to 200 MB in Node 24) however few objects are alive. And it
 * lets the old generation grow to several times the live size before it collects. A server
 * allocates little for a token, nearly all of it dies within a pass, and about 25 MB are alive, so
 * small limits cost next to nothing.
 */
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'

/** Size of the young generation, both halves, in bytes. */
const youngBytes = 8 << 20

/** Growth of the old generation after a collection, in percent; V8 allows at least 8 MB. */
const oldPercent = 25

/** A bound on the objects that fill the young generation. */
const mostFilling = 1 << 20

/**
 * Keeps the heap of this thread small from now on; it does not shrink. V8 reads its limits when it
 * creates a heap. A running program can change only the two growth factors, on Node 20, 22 and 24.
 */
export function keepHeapSmall(): void {
  setFlagsFromString(`--heap-growing-percent=${oldPercent}`)
  growYoung()
  holdYoung()
  // On Node 20 and 22 a new thread's heap sets the factor back to 2 for all threads. A collection
  // before this may double the young generation once more.
  process.on('worker', (worker) => worker.once('online', holdYoung))
}

/** Grows the young generation. V8 starts with 0.5 to 1 MiB a half, and grows only for survivors. */
function growYoung(): void {
  const survivors: object[] = []
  while (2 * young() <= youngBytes && survivors.length < mostFilling)
    for (let i = 0; i < 4096; i++) survivors.push({ i, list: [i] })
}

/** Stops the growth. V8 may still shrink the young generation if the program allocates little. */
function holdYoung(): void {
  setFlagsFromString('--semi-space-growth-factor=1')
}

function young(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_size ?? youngBytes
}
