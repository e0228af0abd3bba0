/** `foretoken doctor`: each check against a machine that is made up, and the command against this one. */
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Check, type NamedFinding, runChecks } from '../../cli/doctor/check.ts'
import { type Host, thisHost } from '../../cli/doctor/host.ts'
import { machineChecks, memoryNeeded, oldestNode } from '../../cli/doctor/machine.ts'
import { surroundingsChecks } from '../../cli/doctor/surroundings.ts'
import type { Flags } from '../../cli/flags.ts'
import { aliases, defaultModel, ForetokenError } from '../../node/index.ts'
import { startCli } from '../helpers/cli-process.ts'

const alias = aliases[defaultModel]!
const pulled = [{ name: defaultModel, source: 'hub', files: [], pulled: '2026-01-01' }]
const wrong = async () => {
  throw new ForetokenError('unsupported', 'wrong sums')
}
const never = () => new Promise<never>(() => {})

/** A machine on which all is well. */
const sound: Host = {
  runtime: { name: 'Node', version: '24.1.0' },
  env: {},
  cpu: { model: 'A CPU', logical: 8, fast: 4, threads: 4 },
  sharedMemory: true,
  core: async (build) => ({ build: build === 'auto' ? 'relaxed' : build, lowering: 1 }),
  memory: () => ({ total: 16e9, available: 8e9 }),
  folder: async () => ({ exists: true, writable: true, bytes: 98e6, partial: { files: 0, bytes: 0 } }),
  disk: async () => ({ free: 50e9, total: 100e9 }),
  models: async () => pulled,
  head: async () => 302,
  pip: async () => '25.0',
  gpu: async () => ({ adapter: 'a GPU' }),
  packageVersion: async () => '1.0.0',
  portProblem: async () => undefined,
  config: async () => 'serve',
}

async function findings(change: Partial<Host>, flags: Flags = {}): Promise<Record<string, NamedFinding>> {
  const host = { ...sound, ...change }
  const found: Record<string, NamedFinding> = {}
  for await (const one of runChecks([...machineChecks(host), ...surroundingsChecks(host, flags)])) found[one.name] = one
  return found
}

test('all checks pass where everything is present', async () => {
  const all = Object.values(await findings({}))
  expect(all.length).toBeGreaterThan(15)
  expect(all.filter(({ verdict }) => verdict !== 'ok').map(({ name }) => name)).toEqual(['config'])
})

const partial = { exists: true, writable: true, bytes: 40e6, partial: { files: 1, bytes: 40e6 } }

test.each<[string, Partial<Host>, Flags, string, string, RegExp]>([
  [
    'an old Node',
    { runtime: { name: 'Node', version: '20.18.3' } },
    {},
    'runtime',
    'missing',
    /20\.18\.3.*install Node 20\.19/,
  ],
  ['the oldest Node', { runtime: { name: 'Node', version: '20.19.0' } }, {}, 'runtime', 'ok', /20\.19\.0/],
  ['Bun', { runtime: { name: 'Bun', version: '1.3.0' } }, {}, 'runtime', 'note', /Bun 1\.3\.0/],
  ['no SIMD', { core: wrong }, {}, 'simd', 'missing', /wrong sums/],
  ['no core', { core: wrong }, {}, 'core', 'missing', /wrong sums/],
  ['no relaxed SIMD', { core: wrong }, {}, 'relaxed simd', 'warning', /gives wrong sums.*take longer/],
  ['no shared memory', { sharedMemory: false }, {}, 'threads', 'warning', /SharedArrayBuffer.*--threads 1/],
  ['no shared memory, and the core', { sharedMemory: false }, {}, 'core', 'ok', /wasm-relaxed is/],
  ['four threads', {}, {}, 'core', 'ok', /wasm-relaxed-4t is/],
  [
    'a full memory',
    { memory: () => ({ total: 16e9, available: 1e8 }) },
    {},
    'memory',
    'warning',
    /100 MB of 16 GB free.*close/,
  ],
  ['a small memory', { memory: () => ({ total: memoryNeeded - 1, available: 1e8 }) }, {}, 'memory', 'missing', /limit/],
  ['no GPU package', { gpu: async () => undefined }, {}, 'gpu', 'note', /npm install webgpu/],
  ['no adapter', { gpu: async () => ({ problem: 'no adapter' }) }, {}, 'gpu', 'note', /no adapter.*Vulkan/],
  ['a driver that crashes', { gpu: wrong }, {}, 'gpu', 'note', /wrong sums/],
  ['partial files', { folder: async () => partial }, {}, 'cache', 'note', /1 partial file of 40 MB.*resumes/],
  [
    'a cache that is not there',
    { folder: async () => ({ ...partial, exists: false, partial: { files: 0, bytes: 0 } }) },
    {},
    'cache',
    'ok',
    /does not exist yet/,
  ],
  [
    'a cache that is read-only',
    { folder: async () => ({ ...partial, writable: false }) },
    {},
    'cache',
    'warning',
    /not writable.*FORETOKEN_HOME/,
  ],
  [
    'a full disk',
    { disk: async () => ({ free: 1e8, total: 1e11 }), models: async () => [] },
    {},
    'disk',
    'missing',
    /98 MB.*HF_HOME/,
  ],
  [
    'a full disk with the model',
    { disk: async () => ({ free: 1e8, total: 1e11 }) },
    {},
    'disk',
    'warning',
    /another model/,
  ],
  [
    'a proxy',
    { env: { HTTPS_PROXY: 'http://me:secret@proxy:3128' } },
    {},
    'proxy',
    'ok',
    /HTTPS_PROXY set.*http:\/\/proxy:3128/,
  ],
  [
    'a proxy passed by',
    { env: { HTTPS_PROXY: 'http://proxy:3128', NO_PROXY: 'huggingface.co' } },
    {},
    'proxy',
    'ok',
    /NO_PROXY set.*directly/,
  ],
  [
    'a proxy of another kind',
    { env: { ALL_PROXY: 'socks5://proxy' } },
    {},
    'proxy',
    'warning',
    /must name an http or https proxy/,
  ],
  ['no network', { head: wrong }, {}, 'network', 'warning', /cannot be reached: wrong sums.*HTTPS_PROXY/],
  [
    'a mirror without it',
    { env: { HF_ENDPOINT: 'http://mirror:1' }, head: async () => 404 },
    {},
    'network',
    'warning',
    /mirror:1 answers 404/,
  ],
  ['a mirror that asks who', { head: async () => 401 }, {}, 'network', 'warning', /401.*HF_TOKEN/],
  ['a mirror that is no address', { env: { HF_ENDPOINT: 'mirror' } }, {}, 'network', 'warning', /HF_ENDPOINT must be/],
  ['--offline', { head: wrong }, { offline: true }, 'network', 'note', /not checked/],
  ['FORETOKEN_OFFLINE', { head: wrong, env: { FORETOKEN_OFFLINE: '1' } }, {}, 'network', 'note', /not checked/],
  [
    'a model that can be fetched',
    { models: async () => [] },
    {},
    'model',
    'ok',
    /not on this machine yet.*foretoken pull/,
  ],
  ['a model by pip', { models: async () => [], head: wrong }, {}, 'model', 'warning', /pip 25\.0/],
  [
    'a model from nowhere',
    { models: async () => [], head: wrong, pip: async () => undefined },
    {},
    'model',
    'missing',
    /-m/,
  ],
  ['a model offline', { models: async () => [] }, { offline: true }, 'model', 'missing', /not on this machine yet/],
  [
    'no ONNX Runtime',
    { packageVersion: async () => undefined },
    {},
    'onnx',
    'note',
    /optional.*npm install onnxruntime-node/,
  ],
  ['no llama.cpp', { packageVersion: async () => undefined }, {}, 'llama.cpp', 'note', /npm install node-llama-cpp/],
  ['a config', {}, { config: 'c.json' }, 'config', 'ok', /c\.json is a config for serve/],
  ['a bad config', { config: wrong }, { config: 'c.json' }, 'config', 'missing', /wrong sums/],
  [
    'a port that is taken',
    { portProblem: async () => 'EADDRINUSE' },
    { port: 99 },
    'port',
    'warning',
    /127\.0\.0\.1:99 is in use.*--port 0/,
  ],
])('%s', async (_, change, flags, name, verdict, text) => {
  const { [name]: found } = await findings(change, flags)
  expect({ verdict: found!.verdict, text: `${found!.found} · ${found!.next ?? ''}` }).toEqual({
    verdict,
    text: expect.stringMatching(text),
  })
})

test('a proxy password is not printed', async () => {
  const { proxy } = await findings({ env: { HTTPS_PROXY: 'http://me:secret@proxy:3128' } })
  expect(JSON.stringify(proxy)).not.toMatch(/secret|me:/)
})

test('the hub is requested once, without downloading the file', async () => {
  const asked: string[] = []
  await findings({
    env: { HF_ENDPOINT: 'https://mirror.example/' },
    models: async () => [],
    head: async (url) => asked.push(url),
  })
  const { repo, revision, file } = alias.hub
  expect(asked).toEqual([`https://mirror.example/${repo}/resolve/${revision}/${file}`])
})

describe('a check', () => {
  const run = async (...checks: Check[]) => {
    const found: NamedFinding[] = []
    for await (const one of runChecks(checks)) found.push(one)
    return found
  }

  test('that does not end is stopped at its time limit, is aborted, and delays no other', async () => {
    let told = false
    const slow: Check = {
      name: 'slow',
      limitMs: 30,
      failed: 'missing',
      run(signal) {
        signal.addEventListener('abort', () => {
          told = true
        })
        return never()
      },
    }
    const quick: Check = { name: 'quick', run: () => ({ verdict: 'ok', found: 'x' }) }
    expect(await run(slow, quick)).toEqual([
      { name: 'slow', verdict: 'missing', found: 'no answer within 0.03 s' },
      { name: 'quick', verdict: 'ok', found: 'x' },
    ])
    expect(told).toBe(true)
  })

  test('that throws reports why, synchronously or later', async () => {
    const fails = () => {
      throw new Error('why')
    }
    expect(await run({ name: 'a', run: fails }, { name: 'b', run: async () => fails() })).toEqual([
      { name: 'a', verdict: 'warning', found: 'why' },
      { name: 'b', verdict: 'warning', found: 'why' },
    ])
  })

  test('has a limit wherever the host may hang', async () => {
    const hang = {
      folder: never,
      disk: never,
      models: never,
      head: never,
      pip: never,
      gpu: never,
      core: never,
    } as const
    const more = { packageVersion: never, portProblem: never, config: never } as const
    const host = { ...sound, ...hang, ...more }
    const checks = [...machineChecks(host), ...surroundingsChecks(host, { config: 'c.json' })]
    const short = checks.map((check) => ({ ...check, limitMs: Math.min(check.limitMs ?? 20, 20) }))
    expect(checks.every(({ limitMs = 5000 }) => limitMs <= 10_000)).toBe(true)
    const late = (await run(...short)).filter(({ found }) => found.startsWith('no answer'))
    expect(late.length).toBeGreaterThan(12)
  })
})

test('the oldest supported Node is that of the package', () => {
  const { engines } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  expect(engines.node).toBe(`>=${oldestNode.join('.')}`)
})

describe('this machine', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'foretoken-doctor-'))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const signal = new AbortController().signal

  test('measures a folder, and the partial downloads in it', async () => {
    const path = join(folder, 'cache')
    mkdirSync(join(path, 'files', 'm'), { recursive: true })
    writeFileSync(join(path, 'files', 'm', 'm.gguf'), 'x'.repeat(100))
    writeFileSync(join(path, 'files', 'm', 'n.gguf.0a1b2c3d.part'), 'x'.repeat(11))
    expect(await thisHost.folder(path, signal)).toEqual({
      exists: true,
      writable: true,
      bytes: 111,
      partial: { files: 1, bytes: 11 },
    })
    expect(await thisHost.folder(join(folder, 'none', 'at', 'all'), signal)).toMatchObject({ exists: false, bytes: 0 })
    expect((await thisHost.disk(join(folder, 'none', 'at', 'all'))).total).toBeGreaterThan(0)
  })

  test('distinguishes a port in use from a free one', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    expect(await thisHost.portProblem(port, signal)).toBe('EADDRINUSE')
    await new Promise((resolve) => server.close(resolve))
    expect(await thisHost.portProblem(0, signal)).toBeUndefined()
  })

  test('reads configs of both commands', async () => {
    const file = (name: string, content: object) => {
      writeFileSync(join(folder, name), JSON.stringify(content))
      return join(folder, name)
    }
    const sha256 = createHash('sha256').update('k').digest('hex')
    expect(await thisHost.config(file('serve.json', { keys: [{ sha256 }] }))).toBe('serve')
    expect(await thisHost.config(file('companion.json', { edges: [] }))).toBe('companion')
    const bad = { code: 'bad_argument', message: expect.stringContaining('choices') }
    await expect(thisHost.config(file('bad.json', { limits: { choices: 'many' } }))).rejects.toMatchObject(bad)
    await expect(thisHost.config(join(folder, 'none.json'))).rejects.toMatchObject({ code: 'not_found' })
  })

  test('runs the core, and reports which build', async () => {
    expect(await thisHost.core('simd128', false)).toMatchObject({ build: 'simd128' })
    expect(thisHost.memory().available).toBeGreaterThan(0)
  })

  test('is reported by a process, for people and as JSON, with the exit code', async () => {
    const home = join(folder, 'home')
    const env = {
      FORETOKEN_HOME: home,
      HF_HOME: join(folder, 'hf'),
      HF_HUB_CACHE: '',
      HTTPS_PROXY: '',
      https_proxy: '',
    }
    const asJson = startCli(['doctor', '--offline', '--json', '--port', '0'], env)
    const code = await asJson.ended
    const report = JSON.parse(asJson.got.out)
    const verdicts = Object.fromEntries(report.checks.map(({ name, verdict }: NamedFinding) => [name, verdict]))
    // Nothing has been pulled into this folder, and nothing may be.
    expect({ code, ok: report.ok, model: verdicts.model }).toEqual({ code: 1, ok: false, model: 'missing' })
    expect(verdicts).toMatchObject({ runtime: 'ok', simd: 'ok', core: 'ok', port: 'ok', network: 'note' })
    const asText = startCli(['doctor', '--offline'], env)
    expect(await asText.ended).toBe(1)
    const lines = asText.got.out.trim().split('\n')
    expect(lines).toHaveLength(report.checks.length + 1)
    for (const line of lines.slice(0, -1)) expect(line).toMatch(/^(ok|note|warning|missing) {1,8} *[\w .]+ {2}\S/)
    expect(lines.at(-1)).toContain('model')
    expect(asText.got.err).toBe('')
  })

  test('is reported within its limits where the hub does not answer', async () => {
    const silent = createServer((socket) => socket.on('error', () => {}).resume())
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const { port } = silent.address() as { port: number }
    const hub = { FORETOKEN_OFFLINE: '', HF_HUB_OFFLINE: '', HF_ENDPOINT: `http://127.0.0.1:${port}` }
    const env = { FORETOKEN_HOME: folder, HTTP_PROXY: '', http_proxy: '', ALL_PROXY: '', all_proxy: '', ...hub }
    const { ended, got } = startCli(['doctor'], env)
    await ended
    expect(got.out).toMatch(/warning +network +127\.0\.0\.1:\d+ cannot be reached: no answer within 4 s/)
    await new Promise((resolve) => silent.close(resolve))
  })
})
