/**
 * The engines that `foretoken bench ttft` measures: this one, and those that it is compared with,
 * each from a user's message to the first text.
 */

import {
  type AnyEngine,
  type Engine,
  ForetokenError,
  loadEngine,
  loadOnnx,
  type Message,
  shippedPredictor,
} from '../../node/index.ts'
import { openWebGpu } from '../../node/webgpu.ts'
import { answerParts } from '../../web/answer-stream.ts'
import { cpuMs } from '../stats.ts'
import type { EngineOptions, TextEngine } from './contender.ts'
import { llamaText } from './peers.ts'
import { ownTab } from './tab.ts'
import { transformersJs } from './transformers.ts'
import { wllama } from './wllama.ts'

/**
 * Opens an engine by name, or by the address of an endpoint. Rejects with `unsupported` if it is
 * not installed, and `bad_argument` for another name.
 */
export async function openTextEngine(name: string, options: EngineOptions): Promise<TextEngine> {
  if (/^https?:\/\//.test(name)) return endpoint(name)
  if (name === 'foretoken') return ours(name, await load(options))
  if (name === 'webgpu') return ours(name, await load(options, { backend: await openWebGpu() }))
  if (name === 'chromium') return ownTab(options)
  if (name === 'wllama') return wllama(options)
  if (name === 'llama.cpp') return llamaText(options.model, options.context, options.threads)
  if (name.startsWith('onnx:')) return onnx(name.slice('onnx:'.length), options)
  if (name.startsWith('transformers.js:')) return transformersJs(name.slice('transformers.js:'.length), options)
  throw new ForetokenError(
    'bad_argument',
    `no engine ${name}: there are foretoken, webgpu, chromium, wllama, llama.cpp, onnx:FOLDER, transformers.js:FOLDER and the address of any OpenAI-compatible endpoint, such as http://127.0.0.1:8080/v1`,
  )
}

async function load(
  { model, context, threads }: EngineOptions,
  more: Parameters<typeof loadEngine>[1] = {},
): Promise<Engine> {
  const predictor = await shippedPredictor(model, 'large')
  return loadEngine(model, {
    context,
    prefixBytes: 0,
    ...(threads !== undefined && { threads }),
    ...(predictor && { predictor }),
    ...more,
  })
}

function ours(name: string, engine: AnyEngine): TextEngine {
  return {
    name,
    build: engine.backend.build,
    modes: engine.prediction ? ['exact', 'predicted', 'refined'] : ['exact'],
    async first(messages, prefill) {
      const [begun, cpu] = [performance.now(), cpuMs()]
      for await (const event of engine.submit({ prompt: messages, prefill, maxTokens: 8 }))
        if (event.type === 'token' && event.text !== '')
          return { ttft_ms: performance.now() - begun, cpu_ms: cpuMs() - cpu }
      throw new ForetokenError('internal', 'the answer has no text')
    },
    async answer(messages, tokens) {
      for await (const event of engine.submit({ prompt: messages, maxTokens: tokens }))
        if (event.type === 'done') return event.text
      throw new ForetokenError('internal', 'the answer has no end')
    },
    close: () => engine.close(),
  }
}

/** Opens an export in ONNX Runtime Web, by default with one thread of Wasm. */
async function onnx(path: string, { context, threads = 1 }: EngineOptions): Promise<TextEngine> {
  const engine = await loadOnnx(path, { runtime: 'web', threads, context })
  return ours(`onnxruntime-web ${engine.archive.name}`, engine)
}

/**
 * Opens an endpoint of OpenAI's API (chat, streamed). Its caches cannot be turned off, so prompts
 * differ from run to run in their first words.
 */
async function endpoint(url: string): Promise<TextEngine> {
  const headers = {
    'content-type': 'application/json',
    ...(process.env.OPENAI_API_KEY && { authorization: `Bearer ${process.env.OPENAI_API_KEY}` }),
  }
  const base = url.replace(/\/+$/, '')
  const models = await fetch(`${base}/models`, { headers }).then((response) => response.json())
  const model: string = models.data?.[0]?.id
  if (!model) throw new ForetokenError('remote', `${base}/models lists no model; is it OpenAI's API?`)
  async function* texts(messages: readonly Message[], tokens: number) {
    const body = JSON.stringify({ model, messages, stream: true, temperature: 0, max_tokens: tokens })
    const response = await fetch(`${base}/chat/completions`, { method: 'POST', headers, body })
    if (!response.ok) throw new ForetokenError('remote', `${base} answers ${response.status}: ${await response.text()}`)
    try {
      for await (const piece of answerParts(response)) if (piece.type === 'text') yield piece.text
    } catch (error) {
      throw new ForetokenError('remote', `${base}: ${(error as Error).message}`, { cause: error })
    }
  }
  return {
    name: base,
    build: model,
    modes: ['exact'],
    async first(messages) {
      const begun = performance.now()
      for await (const _ of texts(messages, 8)) return { ttft_ms: performance.now() - begun }
      throw new ForetokenError('remote', `${base} answered without text`)
    },
    async answer(messages, tokens) {
      let all = ''
      for await (const text of texts(messages, tokens)) all += text
      return all
    },
    close: async () => {},
  }
}
