/** Runs the engine in a worker, so that the page never waits for a pass. */
import './older.ts'
import { asForetokenError, ForetokenError } from '../src/base/errors.ts'
import { Engine } from '../src/engine/engine.ts'
import type { AnswerPart } from '../src/index.ts'
import { webSpawn } from '../workers/web.ts'
import { built, type CoreForm } from './built.ts'
import { builtBytes } from './built-bytes.ts'
import { capability } from './capability.ts'
import { openSource } from './open-source.ts'
import { timedPacking } from './packing.ts'
import type { FromEngine, Question, ToEngine } from './protocol.ts'
import { forget } from './store.ts'
import { exactTtft, readAhead, warmUp } from './timing.ts'
import type { Wishes } from './wishes.ts'

type Progress = Extract<FromEngine, { type: 'progress' }>

const base = new URL('..', self.location.href).href
const running = new Map<number, AbortController>()
let engine: Engine | undefined
/** Stops what is computed ahead of questions: the warm-up, or a conversation. */
let ahead: AbortController | undefined
let loading: AbortController | undefined
let lastLoad: Promise<unknown> = Promise.resolve()
let closing: Promise<void> | undefined

const post = (message: FromEngine) => self.postMessage(message)

self.addEventListener('message', ({ data }: MessageEvent<ToEngine>) => {
  void handle(data).catch((error) => {
    const { code, message } = asForetokenError(error)
    post({ type: 'failed', code, message, id: data.id })
  })
})

async function handle(request: ToEngine): Promise<void> {
  const { id } = request
  if (request.type === 'cancel') return running.get(id)?.abort()
  const control = new AbortController()
  running.set(id, control)
  try {
    if (request.type === 'load') return await load(request, control)
    if (request.type === 'forget') {
      if (request.unload) await unload()
      await forget(request.hashes)
      return post({ type: 'forgotten', id })
    }
    ahead?.abort()
    if (request.type === 'answer') await answer(request, control.signal)
    if (request.type === 'read') {
      ahead = control
      const tokens = await readAhead(loadedEngine(), request.messages, control.signal, (await wishesOf(request)).prompt)
      post({ type: 'read', id, tokens })
    }
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

/** Loads run one after the other; a newer one cancels those before it. */
function load(request: Extract<ToEngine, { type: 'load' }>, control: AbortController): Promise<void> {
  loading?.abort()
  loading = control
  const begun = lastLoad.then(() => loadNow(request, control.signal))
  lastLoad = begun.catch(() => {})
  return begun.catch((error) => {
    // Whatever failed then failed because of it.
    throw control.signal.aborted ? new ForetokenError('aborted', 'loading was cancelled') : error
  })
}

/**
 * Fetches everything first, so that the old model answers until the new one is here, and is still
 * there if that fails. Only one is in memory: the old one is closed before the new one is loaded.
 */
async function loadNow(request: Extract<ToEngine, { type: 'load' }>, signal: AbortSignal): Promise<void> {
  const { id, source, threads, device } = request
  const begun = performance.now()
  signal.throwIfAborted()
  const gpu = device === 'gpu'
  // The core first: if it fails to load, no model download is left running. Usually it is already
  // here.
  const wasm = await cores(!gpu && threads > 1)
  const onProgress = (stage: Progress['stage'], done: number, total: number) =>
    post({ type: 'progress', id, stage, done, total })
  const model = await openSource(source, { signal, onProgress, beforeMemory: unload })
  let loaded: Engine
  try {
    signal.throwIfAborted()
    const machine = gpu
      ? { backend: await (await import('./gpu.ts')).openGpu(wasm) }
      : { threads, spawn: webSpawn(built('compute', base)) }
    await unload()
    loaded = await Engine.load(model.files, {
      wasm,
      ...machine,
      ...(model.predictor && { predictor: model.predictor }),
      guides: async () => (await import('./guides.ts')).fetchGuides(base),
      onProgress: (done, total) => onProgress('load', done, total),
      signal,
    })
  } finally {
    for (const close of model.closing) close()
  }
  engine = loaded
  post({
    type: 'ready',
    id,
    name: source.kind === 'offered' ? source.manifest.name : (model.found?.name ?? loaded.archive.name),
    build: loaded.backend.build,
    memory: loaded.backend.memoryBytes(),
    context: loaded.context,
    loadMs: performance.now() - begun,
    predictor: loaded.prediction !== undefined,
    kept: model.kept,
    ...(model.found && { found: model.found }),
  })
  ahead = new AbortController()
  // The warm-up only affects speed: if it fails, an answer will fail as well and report it.
  void warmUp(loaded, ahead.signal).catch(() => {})
}

/** Closes the model in memory, which ends its answers. */
async function unload(): Promise<void> {
  const old = engine
  engine = undefined
  if (old) {
    ahead?.abort()
    closing = old.close().then(() => post({ type: 'unloaded' }))
  }
  // Somebody else may have begun to close it.
  await closing
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
