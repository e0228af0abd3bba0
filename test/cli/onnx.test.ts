/** An ONNX export in `run`, `chat` and `serve` answers the same as its weights in the Rust core. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadEngine } from '../../node/index.ts'
import { openModel } from '../../src/model/open.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { builtCommand } from '../helpers/built-command.ts'
import { postChat, startCli } from '../helpers/cli-process.ts'
import { cosine } from '../helpers/cosine.ts'
import { writeOnnxFolder } from '../helpers/onnx-folder.ts'
import { tinyFiles, tinyGguf } from '../helpers/tiny-model.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'

const folder = mkdtempSync(join(tmpdir(), 'foretoken-onnx-'))
const [model, exported, predictor] = ['tiny.gguf', 'exported', 'tiny.safetensors'].map((name) =>
  join(folder, name),
) as [string, string, string]
const encoder = fileURLToPath(new URL('../vectors/tiny-bert-onnx', import.meta.url))
const shape = { layers: 7, context: 512 }
beforeAll(async () => {
  writeFileSync(model, tinyGguf(shape))
  await writeOnnxFolder(exported, await openModel(tinyFiles(shape)))
  const engine = await loadEngine(model, { threads: 1 })
  writeFileSync(predictor, await writePredictor(tinyPredictor(engine.identity)))
  await engine.close()
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function foretoken(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, FORETOKEN_HOME: folder, NO_COLOR: '1' }
    const own = ['--disable-warning=ExperimentalWarning', builtCommand, ...args]
    const child = execFile(process.execPath, own, { env, maxBuffer: 1 << 24 }, (error, out, err) =>
      resolve({ code: error ? Number(error.code ?? 1) : 0, out, err }),
    )
    child.stdin?.end()
  })
}

const prompt = 'the river rises in the hills and turns east below the old mill, and meets the sea near the harbour'

describe('foretoken run', () => {
  const asked = ['--json', '--threads', '1', '-n', '12', '--ignore-eos', prompt]

  test.each(['exported', 'exported/onnx/model.onnx'])('-m %s', async (name) => {
    const [got, want] = await Promise.all([
      foretoken('run', '-m', join(folder, name), ...asked),
      foretoken('run', '-m', model, ...asked),
    ])
    expect(got.code, got.err).toBe(0)
    const [said, core] = [JSON.parse(got.out), JSON.parse(want.out)]
    expect(said).toMatchObject({ ids: core.ids, text: core.text, prompt_ids: core.prompt_ids, prefill: 'exact' })
    expect(said.build).toMatch(/^onnx (cpu|wasm)$/)
  })

  test('with a reader it decodes from predicted K and V', async () => {
    const predicted = ['--predictor', predictor, '--prefill', 'predicted', ...asked]
    const [got, want] = await Promise.all([
      foretoken('run', '-m', exported, '--reader', model, ...predicted),
      foretoken('run', '-m', model, ...predicted),
    ])
    expect(got.code, got.err).toBe(0)
    const [said, core] = [JSON.parse(got.out), JSON.parse(want.out)]
    expect(said).toMatchObject({ ids: core.ids, prefill: 'predicted', prefill_share: core.prefill_share })
    const told = await foretoken(
      'run',
      '-m',
      exported,
      '--reader',
      model,
      ...predicted.filter((arg) => arg !== '--json'),
    )
    expect(told.err).toMatch(/first token \d+ ms, exact about \d+ ms/)
  })

  test.each([
    [['run', '-m', exported, '--kv', 'f16', 'hi'], 2, '--kv works only with the Rust core'],
    [['run', '-m', exported, '--backend', 'webgpu', 'hi'], 2, '--backend works only with the Rust core'],
    [['run', '-m', exported, '--predictor', predictor, 'hi'], 2, 'needs --reader'],
    [['run', '-m', model, '--reader', exported, 'hi'], 2, '--reader works only with an ONNX model'],
    [['run', '-m', exported, '--reader', model, 'hi'], 1, 'includes none for'],
    [['run', '-m', exported, '--prefill', 'refined', 'hi'], 2, 'does not work with an ONNX model'],
    [['serve', '-m', exported, '--prefill', 'auto'], 2, 'does not work with an ONNX model'],
    [['run', '-m', exported, '--prefill', 'predicted', 'hi'], 2, '--prefill predicted needs --reader'],
    [['serve', '-m', exported, '--prefill', 'predicted'], 2, '--prefill predicted needs --reader'],
    [['serve', '-m', exported, '--keep', '1', '--prefill', 'predicted'], 2, '--prefill predicted needs --reader'],
    [
      ['run', '-m', exported, '--ignore-config', 'rope_theta', 'hi'],
      2,
      '--ignore-config works only with the Rust core',
    ],
    [
      ['embed', '-m', encoder, '--ignore-config', 'nosuchkey', 'hi'],
      2,
      '--ignore-config works only with the Rust core',
    ],
    [
      ['run', '-m', exported, '--reader', model, '--predictor', predictor, '--ignore-config', 'nosuchkey', 'hi'],
      1,
      '--ignore-config nosuchkey: tiny.gguf has no key of this name',
    ],
    [['bench', 'prefill', '-m', exported], 1, 'is an ONNX export'],
  ] as const)('%j', async (args, code, why) => {
    const told = await foretoken(...args)
    expect(told.code, told.err).toBe(code)
    expect(told.err).toContain(why)
  })
})

test('foretoken serve answers with it, and releases each slot', async () => {
  const server = startCli(['serve', '--port', '0', '-m', exported, '--threads', '1'], { FORETOKEN_HOME: folder })
  try {
    const url = await server.url()
    const body = { model: 'exported', messages: [{ role: 'user', content: prompt }], temperature: 0, max_tokens: 8 }
    const answers = await Promise.all([1, 2, 3].map(async () => (await postChat(url, body)).json()))
    const [first] = answers
    expect(first.usage.completion_tokens).toBeGreaterThan(0)
    for (const answer of answers) expect(answer.choices[0].message).toEqual(first.choices[0].message)
    const core = await foretoken('run', '-m', model, '--json', '--threads', '1', '-n', '8', prompt)
    expect(first.choices[0].message.content).toBe(JSON.parse(core.out).text)
    // A reader that leaves in the middle.
    const left = await postChat(url, { ...body, stream: true, max_tokens: 200, foretoken: { ignore_eos: true } })
    const reader = left.body!.getReader()
    await reader.read()
    await reader.cancel()
    await expect
      .poll(async () => (await (await fetch(`${url}/metrics`)).text()).match(/^foretoken_running (\d+)/m)?.[1], {
        timeout: 20_000,
      })
      .toBe('0')
    // The page is there, for this endpoint: the tab itself runs no ONNX.
    expect((await fetch(`${url}/page/model.json`)).status).toBe(404)
    expect((await fetch(`${url}/`)).status).toBe(200)
  } finally {
    server.child.kill('SIGTERM')
    await server.ended
  }
})

describe('an encoder', () => {
  const golden = JSON.parse(readFileSync(join(encoder, 'golden.json'), 'utf8'))
  const { texts, vectors }: { texts: string[]; vectors: number[][] } = golden.cases[0]

  test('embeds texts, and refuses to answer', async () => {
    const model = join(encoder, 'onnx/model.onnx')
    const made = await foretoken('embed', '-m', model, texts[1]!)
    expect(made.code, made.err).toBe(0)
    expect(cosine(JSON.parse(made.out).embedding, vectors[1]!)).toBeGreaterThan(0.9999)
    expect(made.err).not.toMatch(/ends an answer/)
    const answered = await foretoken('run', '-m', model, 'hi')
    expect([answered.code, answered.err]).toEqual([1, expect.stringContaining('makes embeddings and no answers')])
    const causal = await foretoken('embed', '-m', exported, 'hi')
    expect([causal.code, causal.err]).toEqual([1, expect.stringContaining('is an ONNX export for answers')])
  })

  test('serves vectors beside a model that answers', async () => {
    const server = startCli(['serve', '--port', '0', '-m', encoder, '-m', model, '--threads', '1'], {
      FORETOKEN_HOME: folder,
    })
    try {
      const url = await server.url()
      const post = async (path: string, body: object) => {
        const headers = { 'content-type': 'application/json' }
        const response = await fetch(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
        return { status: response.status, body: await response.json() }
      }
      const named = { model: 'tiny-bert-onnx' }
      const { body } = await post('/v1/embeddings', { ...named, input: texts })
      for (const [index, { embedding }] of body.data.entries())
        expect(cosine(embedding, vectors[index]!)).toBeGreaterThan(0.9999)
      const long = await post('/v1/embeddings', { ...named, input: 'cat '.repeat(200) })
      expect(long).toMatchObject({ status: 400, body: { error: { code: 'context_length_exceeded' } } })
      expect((await post('/api/show', named)).body.capabilities).toEqual(['embedding'])
      for (const [path, asked] of [
        ['/v1/chat/completions', { messages: [{ role: 'user', content: 'hi' }] }],
        ['/v1/completions', { prompt: 'hi' }],
        [
          '/v1/chat/completions',
          { messages: [{ role: 'user', content: 'hi' }], tools: [{ type: 'function', function: { name: 'a' } }] },
        ],
      ] as const)
        expect(await post(path, { ...named, ...asked })).toMatchObject({
          status: 400,
          body: { error: { message: expect.stringContaining('POST /v1/embeddings') } },
        })
      expect((await post('/v1/completions', { model: 'tiny', prompt: 'hi', max_tokens: 2 })).status).toBe(200)
      // The page offers the one that answers.
      expect(await (await fetch(`${url}/page/model.json`)).json()).toMatchObject({ name: 'tiny' })
    } finally {
      server.child.kill('SIGTERM')
      await server.ended
    }
  })
})

test('companions, which send K and V, are refused before anything is served', async () => {
  const env = { FORETOKEN_HOME: folder, FORETOKEN_COMPANION_KEY: 'ab'.repeat(32) }
  const server = startCli(['serve', '--port', '0', '-m', exported, '--companion', 'http://127.0.0.1:9'], env)
  expect(await server.ended).toBe(1)
  expect(server.got.err).toContain('runs in ONNX Runtime')
})
