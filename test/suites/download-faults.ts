/**
 * Makes downloads fail in every way. Whatever happens, the target is a complete file of the source,
 * or does not exist; the error has the right code and says what happened; and a successful run
 * afterwards downloads the file and leaves nothing else behind. Some cases run the command, to
 * check its exit code.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type DownloadRequest, download } from '../../node/download.ts'
import { asForetokenError } from '../../src/index.ts'
import { builtCommand } from '../helpers/built-command.ts'
import { type FileServer, fileServer, type Step } from '../helpers/file-server.ts'
import { sha256 } from '../helpers/mock-hub.ts'
import { type Random, random } from '../helpers/random.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

export interface DownloadReport {
  /** Counts by kind: cases, downloads, refusals, runs of the command, and our faults. */
  readonly kinds: Readonly<Record<string, Row>>
  readonly faults: readonly string[]
}

interface Row {
  cases: number
  whole: number
  refused: number
  command: number
  faults: number
}

/** Versions of one file; the first two are models, of equal or different lengths. */
const gguf = [tinyGguf({ context: 64 }), tinyGguf({ context: 512, hidden: 128 })]
const files = [gguf[0]!, gguf[1]!, random(7).bytes(gguf[0]!.length), random(8).bytes(90_000)]

/** The result of a run; without a code it succeeded. */
interface Ran {
  readonly code?: string
  readonly message: string
  readonly exit?: number
}

interface Scene {
  readonly server: FileServer
  readonly target: string
  readonly folder: string
  readonly rng: Random
}

type Expected = { readonly codes: readonly string[]; readonly words: RegExp; readonly version?: number }
type Kind = (scene: Scene) => Promise<{ readonly ran: Ran; readonly expected: Expected; readonly command?: boolean }>

const share = (rng: Random) => rng.below(100) / 100
const pick = <T>(rng: Random, ...values: readonly T[]): T => values[rng.below(values.length)]!
const servers = (rng: Random): Step => ({
  etag: pick(rng, 'strong', 'weak', 'none'),
  lastModified: pick(rng, 'old', 'fresh', 'none'),
  length: pick(rng, 'told', 'told', 'chunked'),
  ranges: pick(rng, 'right', 'right', 'ignored', 'blind', 'other'),
})
const networkWords =
  /cut off|other side closed|terminated|aborted|socket|fewer than|no answer|replaced|another range|bytes, and had|broke|hang up|answered|incomplete|ECONNRESET/

const kinds: Readonly<Record<string, Kind>> = {
  cut: async ({ server, target, rng }) => {
    const always = rng.below(3) === 0
    const step = servers(rng)
    server.script([
      ...Array.from({ length: 1 + rng.below(3) }, () => ({ ...step, cut: share(rng) })),
      always ? { ...step, cut: share(rng) / 2 } : step,
    ])
    return { ran: await get(server, target), expected: { codes: ['network', ''], words: networkWords } }
  },
  stall: async ({ server, target, rng }) => {
    const step = servers(rng)
    server.script([{ ...step, stall: share(rng) }, rng.below(2) === 0 ? step : { ...step, stall: share(rng) / 2 }])
    return {
      ran: await get(server, target, { stallMs: 80, connectMs: 2000 }),
      expected: { codes: ['network', ''], words: networkWords },
    }
  },
  change: async ({ server, target, rng }) => {
    const step = servers(rng)
    const version = 1 + rng.below(3)
    server.script([{ ...step, cut: share(rng) }, { ...step, version }, { ...servers(rng), version }, { version }])
    return { ran: await get(server, target), expected: { codes: ['network', ''], words: networkWords } }
  },
  'lie about length': async ({ server, target, rng }) => {
    const size = Math.max(1, files[0]!.length + pick(rng, -1, 1) * (1 + rng.below(5000)))
    server.script([{ ...servers(rng), cut: pick(rng, 1, share(rng)) }, servers(rng)])
    return {
      ran: await get(server, target, { size }),
      expected: { codes: ['checksum', 'network'], words: /promised|bytes|cut off/ },
    }
  },
  'wrong hash': async ({ server, target, rng }) => {
    const hash = sha256(files[1]!)
    server.script([servers(rng)])
    if (rng.below(4) > 0)
      return {
        ran: await get(server, target, { sha256: hash }),
        expected: { codes: ['checksum', 'network'], words: /hash|promised|range/i },
      }
    server.script([{}])
    return {
      ran: await pull(`${server.url}#sha256=${hash}`, target),
      expected: { codes: ['checksum'], words: /\(checksum\)/ },
      command: true,
    }
  },
  'killed process': async ({ server, target, rng }) => {
    server.script([{ stall: 0.3 + share(rng) / 2 }])
    await pull(`${server.url}#sha256=${sha256(files[0]!)}`, target, async (kill) => {
      while (server.sent() === 0) await new Promise((resolve) => setTimeout(resolve, 10))
      setTimeout(kill, rng.below(300))
    })
    server.script([{}])
    return {
      ran: await pull(`${server.url}#sha256=${sha256(files[0]!)}`, target),
      expected: { codes: [''], words: /./, version: 0 },
      command: true,
    }
  },
  'full disk': async ({ server, target, rng }) => {
    let asked = 0
    const last = rng.below(2)
    const space = async () => ({ free: asked++ > last ? 1e12 : rng.below(8_000_000), total: 1e12 })
    server.script([servers(rng)])
    return { ran: await get(server, target, { space }), expected: { codes: ['disk_full'], words: /free/ } }
  },
  'two writers': async ({ server, target, rng }) => {
    server.script([rng.below(2) === 0 ? { cut: share(rng) } : {}, {}])
    const one = `${server.url}#sha256=${sha256(files[0]!)}`
    if (rng.below(3) > 0) {
      const [a, b] = await Promise.all([get(server, target), get(server, target)])
      return { ran: a.code ? a : b, expected: { codes: [''], words: /./, version: 0 } }
    }
    const [a, b] = await Promise.all([pull(one, target), pull(one, target)])
    return { ran: a.code ? a : b, expected: { codes: [''], words: /./, version: 0 }, command: true }
  },
}

export async function downloadFaults(
  count: number,
  seed: number,
  onCase: (done: number) => void = () => {},
): Promise<DownloadReport> {
  const rng = random(seed)
  const report: Record<string, Row> = {}
  const faults: string[] = []
  const names = Object.keys(kinds)
  for (let at = 0; at < count; at++) {
    const kind = names[at % names.length]!
    report[kind] ??= { cases: 0, whole: 0, refused: 0, command: 0, faults: 0 }
    const row = report[kind]
    row.cases++
    const folder = await mkdtemp(join(tmpdir(), 'foretoken-faults-'))
    const server = await fileServer(files)
    try {
      const target = join(folder, 'm.gguf')
      const { ran, expected, command } = await kinds[kind]!({ server, target, folder, rng })
      if (command) row.command++
      await judge(ran, expected, server, target, command === true)
      if (ran.code) row.refused++
      else row.whole++
    } catch (error) {
      row.faults++
      faults.push(`case ${at} (${kind}), seed ${seed}: ${asForetokenError(error).message}`)
    } finally {
      await server.close()
      await rm(folder, { recursive: true, force: true })
    }
    onCase(at + 1)
  }
  return { kinds: report, faults }
}

async function judge(
  ran: Ran,
  { codes, words, version }: Expected,
  server: FileServer,
  target: string,
  command: boolean,
): Promise<void> {
  assert.ok(
    codes.includes(ran.code ?? ''),
    `it came to ${ran.code ?? 'success'}, not ${codes.join(' or ')}: ${ran.message}`,
  )
  if (ran.code) {
    assert.match(ran.message, words)
    assert.ok(!existsSync(await placeOf(target, command)), 'a file is there though it was refused')
    if (command) assert.equal(ran.exit, 1, 'the exit code')
  } else {
    const found = await readFile(await placeOf(target, command))
    const had = (version === undefined ? [...new Set(server.versions)] : [version]).map((one) => files[one]!)
    assert.ok(
      had.some((bytes) => Buffer.compare(found, bytes) === 0),
      `${found.length} bytes that the source never had`,
    )
    if (command) assert.equal(ran.exit, 0, 'the exit code')
  }
  // A successful run downloads the file, and nothing of the failure is left.
  server.script([{ version: 0 }])
  const again = command
    ? await pull(`${server.url}#sha256=${sha256(files[0]!)}`, target)
    : await get(server, target, { sha256: sha256(files[0]!) })
  assert.equal(again.code, undefined, `an honest run failed: ${again.message}`)
  const place = await placeOf(target, command)
  assert.equal(Buffer.compare(await readFile(place), files[0]!), 0, 'an honest run brought something else')
  const beside = (await readdir(join(place, '..'))).filter((name) => name !== 'm.gguf')
  assert.deepEqual(beside, [], 'something is left beside the file')
}

async function get(server: FileServer, target: string, change: Partial<DownloadRequest> = {}): Promise<Ran> {
  try {
    await download({ url: server.url, target, tries: 3, backoffMs: 1, ...change })
    return { message: '' }
  } catch (error) {
    const { code, message } = asForetokenError(error)
    return { code, message }
  }
}

/** Downloads with the command, with a separate store beside `target`. `meanwhile` may kill it. */
async function pull(name: string, target: string, meanwhile?: (kill: () => void) => unknown): Promise<Ran> {
  const home = `${target}.home`
  await mkdir(home, { recursive: true })
  const env = {
    ...process.env,
    FORETOKEN_HOME: home,
    HF_HOME: join(home, 'hf'),
    FORETOKEN_OFFLINE: '',
    HF_HUB_OFFLINE: '',
  }
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', builtCommand, 'pull', name], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let message = ''
  child.stderr.on('data', (text) => (message += text))
  const ended = new Promise<number>((resolve) => child.once('close', (code) => resolve(code ?? -1)))
  await meanwhile?.(() => child.kill('SIGKILL'))
  const exit = await ended
  if (exit === 0) return { message, exit }
  return { code: /\((\w+)\)\s*$/.exec(message)?.[1] ?? `exit ${exit}`, message, exit }
}

/** Returns where a run puts the file. */
async function placeOf(target: string, command: boolean): Promise<string> {
  if (!command) return target
  const root = join(`${target}.home`, 'files')
  const [folder] = await readdir(root).catch(() => [] as string[])
  return join(root, folder ?? 'none', 'm.gguf')
}
