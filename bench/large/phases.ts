/** What `run.ts` measures in a process of its own: prints a line of JSON. */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs'
import { type Engine, loadEngine } from '../../node/index.ts'
import { cpuMs } from '../stats.ts'

export interface Phase {
  readonly ms: number
  readonly cpu_ms: number
  /** Largest resident set of the process so far, in bytes; 0 where the system does not tell. */
  readonly peak_bytes: number
}

export interface Speed {
  readonly prefill_512_ms: number
  readonly decode_ms: number
  /** Bytes of wasm memory when all was done. */
  readonly wasm_bytes: number
  readonly peak_bytes: number
}

const context = 1024
const [phase, path = '', threads = '1'] = process.argv.slice(2)
const load = () => loadEngine(path, { threads: Number(threads), context })
const result =
  phase === 'read'
    ? await measured(() => readWhole(path))
    : phase === 'load'
      ? await measured(load, (engine) => engine.close())
      : await speedOf(await load())
console.log(JSON.stringify(result))

/** Reads a file into memory that nobody has used, as any program that keeps it must. */
async function readWhole(path: string): Promise<Uint8Array> {
  const file = openSync(path, 'r')
  const bytes = new Uint8Array(fstatSync(file).size)
  for (let at = 0; at < bytes.length; ) at += readSync(file, bytes, at, Math.min(1 << 20, bytes.length - at), at)
  closeSync(file)
  return bytes
}

async function measured<T>(work: () => Promise<T>, after: (made: T) => unknown = () => {}): Promise<Phase> {
  const [cpu, begun] = [cpuMs(), performance.now()]
  const made = await work()
  const phase = { ms: performance.now() - begun, cpu_ms: cpuMs() - cpu, peak_bytes: peakBytes() }
  await after(made)
  return phase
}

async function speedOf(engine: Engine): Promise<Speed> {
  const prompt = Array.from({ length: 512 }, (_, i) => (i * 7919) % 40_000)
  let timings: { prefill_ms: number; decode_tokens_per_s: number } | undefined
  for await (const event of engine.generate({ prompt, maxTokens: 17, ignoreEos: true, temperature: 0 }))
    if (event.type === 'done') timings = event.timings
  const speed = {
    prefill_512_ms: timings?.prefill_ms ?? Number.NaN,
    decode_ms: 1000 / (timings?.decode_tokens_per_s ?? Number.NaN),
    wasm_bytes: engine.backend.memoryBytes(),
    peak_bytes: peakBytes(),
  }
  await engine.close()
  return speed
}

function peakBytes(): number {
  try {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}
