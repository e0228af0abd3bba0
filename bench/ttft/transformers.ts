/**
 * Runs transformers.js in Node on an export in its own layout: ONNX Runtime's native code on the
 * CPU.
 */
import { existsSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { ForetokenError, type Message } from '../../node/index.ts'
import { cpuMs } from '../stats.ts'
import type { EngineOptions, TextEngine } from './contender.ts'

/** The part of its pipeline that is used here. */
interface Generator {
  (messages: readonly Message[], options: object): Promise<{ readonly generated_text: readonly Message[] }[]>
  readonly tokenizer: object
  dispose(): Promise<void>
}

/**
 * Its names for the types of weights, by the file that holds them; common small ones before the
 * largest.
 */
const dtypes = { 'model_quantized.onnx': 'q8', 'model_q4.onnx': 'q4', 'model_fp16.onnx': 'fp16', 'model.onnx': 'fp32' }

/**
 * Opens an export. Rejects with `unsupported` if the package is not installed, and `not_found` for
 * a folder without an export.
 */
export async function transformersJs(folder: string, { threads = 1 }: EngineOptions): Promise<TextEngine> {
  const name: string = '@huggingface/transformers'
  const { env, pipeline, TextStreamer } = await import(name).catch(() => {
    throw new ForetokenError('unsupported', `${name} is not installed: npm install --no-save ${name}`)
  })
  const path = resolve(folder)
  const [, dtype] = Object.entries(dtypes).find(([file]) => existsSync(join(path, 'onnx', file))) ?? []
  if (!dtype)
    throw new ForetokenError(
      'not_found',
      `${path} has no onnx/ with one of ${Object.keys(dtypes).join(', ')}; give a folder as transformers.js's models on the Hub are`,
    )
  env.allowRemoteModels = false
  env.localModelPath = dirname(path)
  const generator: Generator = await pipeline('text-generation', basename(path), {
    dtype,
    device: 'cpu',
    session_options: { intraOpNumThreads: threads, interOpNumThreads: 1 },
  })
  const answer = async (messages: readonly Message[], tokens: number, onToken: () => void) => {
    // Its streamer holds text back to the end of a word; the token callback fires as soon as a
    // token is there.
    const options = { skip_prompt: true, callback_function() {}, token_callback_function: onToken }
    const streamer = new TextStreamer(generator.tokenizer, options)
    const [conversation] = await generator(messages, { max_new_tokens: tokens, do_sample: false, streamer })
    return conversation?.generated_text.at(-1)?.content ?? ''
  }
  return {
    name: `transformers.js ${basename(path)}`,
    build: `${env.version} ${dtype}, node`,
    modes: ['exact'],
    async first(messages) {
      const [begun, cpu] = [performance.now(), cpuMs()]
      let first: { ttft_ms: number; cpu_ms: number } | undefined
      await answer(messages, 1, () => {
        first ??= { ttft_ms: performance.now() - begun, cpu_ms: cpuMs() - cpu }
      })
      if (!first) throw new ForetokenError('remote', 'transformers.js answered without a token')
      return first
    },
    answer: (messages, tokens) => answer(messages, tokens, () => {}),
    close: () => generator.dispose(),
  }
}
