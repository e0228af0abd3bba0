/** Runs the engine in a worker, so that the page never waits for a pass. */
import './older.ts'
import { asForetokenError, ForetokenError } from '../src/base/errors.ts'
import { Engine } from '../src/engine/engine.ts'
import type { AnswerPart, ByteSource, ModelFiles } from '../src/index.ts'
import { webSpawn } from '../workers/web.ts'
import { blobSource } from './blob-source.ts'
import { built, type CoreForm } from './built.ts'
import { builtBytes } from './built-bytes.ts'
import { capability } from './capability.ts'
import { timedPacking } from './packing.ts'
import type { OnProgress } from './partial.ts'
import type { FromEngine, Manifest, ModelSource, Question, ToEngine } from './protocol.ts'
import { fetchFile, forgetAll } from './store.ts'
import { exactTtft, warmUp } from './timing.ts'
import { fetchUnknown, nameOf } from './unknown.ts'
import type { Wishes } from './wishes.ts'

const base = new URL('..', self.location.href).href
const running = new Map<number, AbortController>()
let engine: Engine | undefined
/** Stops the warm-up, which nothing waits for. */
let warming: AbortController | undefined

const post = (message: FromEngine) => self.postMessage(message)

self.addEventListener('message', ({ data }: MessageEvent<ToEngine>) => {
  const id = 'id' in data ? data.id : undefined
  void handle(data).catch((error) => {
    const { code, message } = asForetokenError(error)
    post({ type: 'failed', code, message, ...(id !== undefined && { id }) })
  })
})

async function handle(request: ToEngine): Promise<void> {
  if (request.type === 'load') return load(request)
  if (request.type === 'forget') return forgetAll()
  if (request.type === 'cancel') return running.get(request.id)?.abort()
  warming?.abort()
  const { id } = request
  const control = new AbortController()
  running.set(id, control)
  try {
    if (request.type === 'answer') await answer(request, control.signal)
    if (request.type === 'time') {
      const { messages, cachedTokens } = request
      const { prompt } = await wishesOf(request)
      const ttft = await exactTtft(loadedEngine(), messages, cachedTokens, control.signal, prompt)
      post({ type: 'timed', id, ttft })
    }
    if (request.type === 'check') {
      await (await import('./wishes.ts')).checkSchema(loadedEngine(), request.schema, control.signal)
      post({ type: 'checked', id })
    }
    if (request.type === 'pack') {
      const onProgress = (done: number, total: number) => post({ type: 'packing', id, done, total })
      const figures = await timedPacking(loadedEngine(), request.prompts, control.signal, onProgress)
      post({ type: 'packed', id, figures })
    }
  } finally {
    running.delete(id)
  }
}

function loadedEngine(): Engine {
  if (!engine) throw new ForetokenError('internal', 'no model is loaded')
  return engine
}

async function load({ source, threads, device }: Extract<ToEngine, { type: 'load' }>): Promise<void> {
  const begun = performance.now()
  warming?.abort()
  await engine?.close()
  engine = undefined
  const gpu = device === 'gpu'
  // The core first: if it fails to load, no model download is left running. Usually it is already
  // here.
  const wasm = await cores(!gpu && threads > 1)
  const model = await open(source)
  try {
    engine = await Engine.load(model.files, {
      wasm,
      ...(gpu
        ? { backend: await (await import('./gpu.ts')).openGpu(wasm) }
        : { threads, spawn: webSpawn(built('compute', base)) }),
      ...(model.predictor && { predictor: model.predictor }),
      guides: async () => (await import('./guides.ts')).fetchGuides(base),
      onProgress: (done, total) => post({ type: 'progress', stage: 'load', done, total }),
    })
  } finally {
    for (const close of model.closing) close()
  }
  post({
    type: 'ready',
    name: source.kind === 'offered' ? source.manifest.name : (model.found?.name ?? engine.archive.name),
    build: engine.backend.build,
    memory: engine.backend.memoryBytes(),
    context: engine.context,
    loadMs: performance.now() - begun,
    predictor: engine.prediction !== undefined,
    kept: model.kept,
    ...(model.found && { found: model.found }),
  })
  warming = new AbortController()
  // The warm-up only affects speed: if it fails, an answer will fail as well and report it.
  void warmUp(engine, warming.signal).catch(() => {})
}

type Cores = Partial<Record<CoreForm, WebAssembly.Module>>
const compiled = new Map<boolean, Promise<Cores>>()

/** Returns the builds of the core that this browser compiles, compiled once. */
function cores(shared: boolean): Promise<Cores> {
  const known = compiled.get(shared)
  if (known) return known
  const compiling = compiledCores(shared ? ['relaxed-threads', 'simd128-threads'] : ['relaxed', 'simd128'])
  compiled.set(shared, compiling)
  // If the network failed, the next load tries again.
  compiling.catch(() => compiled.delete(shared))
  return compiling
}

async function compiledCores(forms: readonly CoreForm[]): Promise<Cores> {
  const modules = await Promise.all(
    forms.map(async (form) => {
      const bytes = await builtBytes(form, base)
      return WebAssembly.compile(bytes).catch(() => undefined)
    }),
  )
  return Object.fromEntries(forms.flatMap((form, at) => (modules[at] ? [[form, modules[at]]] : [])))
}

interface OpenModel {
  readonly files: ModelFiles
  readonly predictor: ByteSource | undefined
  readonly kept: true | string
  readonly found?: Manifest
  /** Close functions of files that stay open until they have been read. */
  readonly closing: readonly (() => void)[]
}

async function open(source: ModelSource): Promise<OpenModel> {
  if (source.kind === 'picked') {
    const files = new Map(source.files.map((file) => [file.name, file]))
    return {
      files: filesOf('picked', files.keys(), (name) => blobSource(name, files.get(name)!)),
      predictor: undefined,
      kept: 'you picked the file; pick it again next time',
      closing: [],
    }
  }
  if (source.kind === 'address') return openAddress(new URL(source.url))
  const { manifest, base: from } = source
  const offered = [...manifest.files, ...(manifest.predictor ? [manifest.predictor] : [])]
  const total = offered.reduce((sum, { bytes }) => sum + bytes, 0)
  let before = 0
  let kept: true | string = true
  const sources = new Map<string, ByteSource>()
  const closing: (() => void)[] = []
  for (const file of offered) {
    const onProgress = (stage: 'wait' | 'fetch' | 'check', done: number) =>
      post({ type: 'progress', stage, done: before + done, total })
    const fetched = await fetchFile(file, { base: from, onProgress }).catch((error) => {
      for (const close of closing) close()
      throw error
    })
    if (fetched.close) closing.push(fetched.close)
    before += file.bytes
    if (fetched.kept !== true) kept = fetched.kept
    sources.set(file.name, fetched.source)
  }
  const names = manifest.files.map(({ name }) => name)
  return {
    files: filesOf(manifest.name, names, (name) => sources.get(name)!),
    predictor: manifest.predictor && sources.get(manifest.predictor.name),
    kept,
    closing,
  }
}

async function openAddress(url: URL): Promise<OpenModel> {
  const onProgress: OnProgress = (stage, done, total) => post({ type: 'progress', stage, done, total })
  const { source, kept, close, bytes, sha256 } = await fetchUnknown(url, onProgress)
  const name = nameOf(url)
  return {
    files: filesOf(name, [name], () => source),
    predictor: undefined,
    kept,
    closing: close ? [close] : [],
    found: { name: name.replace(/\.gguf$/i, ''), files: [{ name, url: url.href, bytes, sha256 }] },
  }
}

function filesOf(name: string, files: Iterable<string>, open: (file: string) => ByteSource): ModelFiles {
  return { name, files: [...files], open: async (file) => open(file) }
}

/** The penalty keeps small models from repeating themselves. */
const answering = { maxTokens: 256, repetitionPenalty: 1.1 }

/** Returns what the question's shape and tools add to the request. Their code is loaded on first use. */
async function wishesOf(question: Omit<Question, 'mode'>): Promise<Partial<Wishes>> {
  if (question.schema === undefined && !question.tools) return {}
  return (await import('./wishes.ts')).wishesOf(loadedEngine(), question)
}

async function answer(request: Extract<ToEngine, { type: 'answer' }>, signal: AbortSignal): Promise<void> {
  const { id, messages, mode, plain } = request
  const wishes = await wishesOf(request)
  const options = plain === undefined ? { ...answering, ...wishes.options } : { maxTokens: plain }
  const asked = { ...wishes.prompt, prompt: messages, prefill: mode, verify: mode === 'refined' }
  const submission = loadedEngine().submit({ ...options, ...asked, signal })
  const texts: string[] = []
  let reader = wishes.newReader?.()
  const read = (text: string): readonly AnswerPart[] => reader?.push(text) ?? [{ type: 'content', text }]
  const begun = performance.now()
  const send = (parts: readonly AnswerPart[]) => {
    const { exact_from, prefill } = submission.soFar
    const exact = exact_from !== undefined || prefill === 'exact'
    for (const part of parts) {
      if (part.type === 'content') post({ type: 'token', id, text: part.text, exact })
      if (part.type === 'call' || part.type === 'arguments') post({ ...part, id })
    }
  }
  for await (const event of submission) {
    if (event.type === 'token') {
      texts.push(event.text)
      send(read(event.text))
    }
    if (event.type === 'correction') {
      texts.length = event.index
      reader = wishes.newReader?.()
      const kept = texts.flatMap((text) => read(text))
      const text = kept.map((part) => (part.type === 'content' ? part.text : '')).join('')
      post({ type: 'correction', id, text })
      send(kept.filter(({ type }) => type !== 'content'))
    }
    if (event.type === 'done') {
      const { timings, cached_tokens, prefill, exact_from, memory } = event
      const { ttft_ms, prompt_tokens, decode_tokens_per_s } = timings
      const cut = event.finishReason !== 'stop'
      send(reader?.finish(cut) ?? [])
      post({
        type: 'answered',
        id,
        figures: {
          ttft: ttft_ms || performance.now() - begun,
          promptTokens: prompt_tokens,
          cachedTokens: cached_tokens,
          tokens: event.ids.length,
          tokensPerSecond: decode_tokens_per_s,
          cut,
          prefill,
          ...(exact_from !== undefined && { exactFrom: exact_from }),
          memory: memory.wasm_bytes,
        },
      })
    }
  }
}

// Starts compiling while the page looks for the model.
cores(capability().threads > 1).catch(() => {})
