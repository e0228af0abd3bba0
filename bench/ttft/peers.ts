/** Peers, if they are installed: llama.cpp with node-llama-cpp, and MLX-LM with Python. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { ForetokenError, type Message, modelFiles } from '../../node/index.ts'
import { cpuMs } from '../stats.ts'
import type { Contender, First, TextEngine } from './contender.ts'

/** The part of node-llama-cpp's sequence that is used here. */
interface LlamaSequence {
  clearHistory(): Promise<void>
  evaluate(ids: readonly number[], options: object): AsyncGenerator<number>
}

/** The part of node-llama-cpp's model that is used here. */
interface LlamaModel {
  tokenize(text: string, special: boolean): readonly number[]
  detokenize(ids: readonly number[]): string
}

interface OpenLlama {
  readonly device: string
  readonly model: LlamaModel
  readonly sequence: LlamaSequence
  close(): Promise<void>
}

/**
 * Opens the same GGUF file, on the GPU if llama.cpp has one. Rejects with `unsupported` if
 * node-llama-cpp is not installed.
 */
async function openLlama(model: string, context: number, threads?: number): Promise<OpenLlama> {
  const name: string = 'node-llama-cpp'
  const { getLlama, LlamaLogLevel } = await import(name).catch(() => {
    throw new ForetokenError('unsupported', 'node-llama-cpp is not installed: npm install --no-save node-llama-cpp')
  })
  const modelPath = await ggufPath(model)
  const llama = await getLlama({ build: 'never', logLevel: LlamaLogLevel.error })
  const loaded = await llama.loadModel({ modelPath })
  const llamaContext = await loaded.createContext({
    contextSize: context,
    batchSize: 512,
    sequences: 1,
    ...(threads && { threads }),
  })
  return {
    device: llama.gpu || 'CPU',
    model: loaded,
    sequence: llamaContext.getSequence(),
    async close() {
      await llamaContext.dispose()
      await loaded.dispose()
      await llama.dispose()
    },
  }
}

const greedy = { temperature: 0, yieldEogToken: true }

/** Opens llama.cpp for prompts of token ids. */
export async function llamaCpp(model: string, context: number): Promise<Contender> {
  const { device, sequence, close } = await openLlama(model, context)
  return {
    name: `llama.cpp, ${device}`,
    same: false,
    modes: ['exact'],
    async first(prompt) {
      await sequence.clearHistory()
      const [begun, cpu] = [performance.now(), cpuMs()]
      const tokens = sequence.evaluate(prompt, greedy)
      const { value } = await tokens.next()
      const first: First = { ttft_ms: performance.now() - begun, cpu_ms: cpuMs() - cpu, id: Number(value) }
      await tokens.return(undefined)
      return first
    },
    close,
  }
}

/** Opens llama.cpp for messages in SmolLM2's template (ChatML); only for models that use it. */
export async function llamaText(name: string, context: number, threads: number | undefined): Promise<TextEngine> {
  const { device, model, sequence, close } = await openLlama(name, context, threads)
  async function* texts(messages: readonly Message[]) {
    await sequence.clearHistory()
    const ids = model.tokenize(chatText(messages), true)
    for await (const id of sequence.evaluate(ids, greedy)) yield model.detokenize([id])
  }
  return {
    name: 'llama.cpp',
    build: device,
    modes: ['exact'],
    async first(messages) {
      const [begun, cpu] = [performance.now(), cpuMs()]
      for await (const text of texts(messages))
        if (text !== '') return { ttft_ms: performance.now() - begun, cpu_ms: cpuMs() - cpu }
      throw new ForetokenError('remote', 'llama.cpp answered without text')
    },
    async answer(messages, tokens) {
      let [all, count] = ['', 0]
      for await (const text of texts(messages)) {
        all += text
        if (++count === tokens) break
      }
      return all
    },
    close,
  }
}

/** Renders a conversation in SmolLM2's template. */
export function chatText(messages: readonly Message[]): string {
  const turns = [system, ...messages].map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`)
  return `${turns.join('')}<|im_start|>assistant\n`
}

/** The template adds this message to a conversation that begins without one. */
const system: Message = {
  role: 'system',
  content: 'You are a helpful AI assistant named SmolLM, trained by Hugging Face',
}

/**
 * Returns the path of a model's GGUF file. Rejects with `unsupported` for a model in another
 * format.
 */
export async function ggufPath(model: string): Promise<string> {
  const files = await modelFiles(model)
  try {
    const file = files.files.find((name) => name.endsWith('.gguf'))
    if (!file) throw new ForetokenError('unsupported', `${model} is not a GGUF file, which llama.cpp needs`)
    // A file's source is named by its path.
    return (await files.open(file)).name
  } finally {
    await files.close()
  }
}

const script = `
import json, sys, time
import mlx.core as mx
from mlx_lm import load
from mlx_lm.generate import generate_step
model, _ = load(sys.argv[1])
print(json.dumps({"device": str(mx.default_device())}), flush=True)
for line in sys.stdin:
    ids = mx.array(json.loads(line))
    begun = time.perf_counter()
    token, _ = next(generate_step(ids, model, max_tokens=1))
    print(json.dumps({"id": int(token), "ttft_ms": 1000 * (time.perf_counter() - begun)}), flush=True)
`

/**
 * Starts a Python process that is asked by lines. Rejects with `unsupported` if mlx_lm is not
 * installed.
 */
export async function mlx(model: string): Promise<Contender> {
  const child: ChildProcessWithoutNullStreams = spawn('python3', ['-c', script, model], { stdio: 'pipe' })
  let said = ''
  child.stderr.on('data', (text) => {
    said += text
  })
  child.on('error', (error) => {
    said += error.message
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async () => {
    const { done, value } = await lines.next()
    if (!done) return JSON.parse(value)
    const why = said.trim().split('\n').at(-1) ?? ''
    throw new ForetokenError('unsupported', `MLX-LM does not run here (${why}): pip install mlx-lm`)
  }
  const { device } = await next()
  return {
    name: `MLX-LM, ${device}`,
    same: false,
    modes: ['exact'],
    async first(prompt) {
      child.stdin.write(`${JSON.stringify(prompt)}\n`)
      return next()
    },
    async close() {
      child.kill()
    },
  }
}
