/**
 * Runs llama.cpp as a companion: it makes whole answers by node-llama-cpp (an optional peer), on
 * Metal, CUDA, Vulkan or the CPU. It sends no K and V, since llama.cpp lays them out in its own
 * way.
 *
 * Prompts and tokens are exchanged as ids: the same GGUF file has the same vocabulary on both
 * sides. llama.cpp rounds differently, so that an answer that the edge continues after a failure
 * may differ from the one that llama.cpp would have made.
 */
import { modelFiles, type OpenModelFiles } from '../../node/index.ts'
import { throwIfAborted } from '../../src/base/cancelled.ts'
import { Trace } from '../../src/base/trace.ts'
import { AnswerState } from '../../src/engine/answer-state.ts'
import { submitSteps } from '../../src/engine/stepped.ts'
import { type Answer, ForetokenError, Gate, type GenerateRequest, Lifetime, Shares } from '../../src/index.ts'
import { identityOf } from '../../src/model/load.ts'
import { openModel } from '../../src/model/open.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'
import type { PromptReader } from '../reader.ts'

/** The parts of node-llama-cpp that are used. */
interface Llama {
  readonly gpu: string | false
  loadModel(options: object): Promise<LlamaModel>
  dispose(): Promise<void>
}

interface LlamaModel {
  createContext(options: object): Promise<LlamaContext>
  dispose(): Promise<void>
}

interface LlamaContext {
  getSequence(): LlamaSequence
  dispose(): Promise<void>
}

interface LlamaSequence {
  clearHistory(): Promise<void>
  evaluateWithMetadata(
    ids: readonly number[],
    metadata: { readonly confidence: true },
    options: object,
  ): AsyncGenerator<{ readonly token: number; readonly confidence: number }>
}

export interface LlamaOptions {
  readonly model: string
  readonly context: number
  readonly threads?: number | undefined
  /** Metadata keys to ignore, see `OpenOptions`. */
  readonly ignoreConfig?: readonly string[] | undefined
}

/**
 * Loads a model. Rejects with `unsupported` if node-llama-cpp is not installed, or the model is not
 * a GGUF file.
 */
export async function openLlama({
  model,
  context,
  threads,
  ignoreConfig,
}: LlamaOptions): Promise<PromptReader & { close(): Promise<void> }> {
  const name: string = 'node-llama-cpp'
  const { getLlama, LlamaLogLevel } = await import(name).catch((cause) => {
    throw new ForetokenError(
      'unsupported',
      'node-llama-cpp is not installed: npm install node-llama-cpp, or use --backend wasm',
      { cause },
    )
  })
  const files = await modelFiles(model)
  try {
    const path = await ggufPath(model, files)
    const archive = await openModel(files, { ignoreConfig })
    const identity = await identityOf(archive)
    const llama: Llama = await getLlama({ build: 'never', skipDownload: true, logLevel: LlamaLogLevel.error })
    const loaded = await llama.loadModel({ modelPath: path })
    const contextSize = Math.min(context, archive.config.maxContext)
    const llamaContext = await loaded.createContext({
      contextSize,
      batchSize: 512,
      sequences: 1,
      ...(threads && { threads }),
    })
    const source = {
      archive,
      tokenizer: createTokenizer(archive.tokenizer),
      backend: { build: `llama.cpp ${llama.gpu || 'cpu'}`, memoryBytes: () => 0 },
      context: contextSize,
      loadMs: 0,
      prediction: undefined,
    }
    const gate = new Gate({ stocks: [new Shares(1)] })
    const sequence = llamaContext.getSequence()
    return {
      archive,
      identity,
      context: contextSize,
      backend: source.backend,
      prediction: undefined,
      get stats() {
        return { running: gate.running, waiting: gate.waiting }
      },
      submit: (request) => submit(request, source, sequence, gate),
      async close() {
        await llamaContext.dispose()
        await loaded.dispose()
        await llama.dispose()
      },
    }
  } finally {
    await files.close()
  }
}

type Source = ConstructorParameters<typeof AnswerState>[2]

/**
 * Submits a request. Answers are made one after the other, since there is one sequence. Throws
 * `bad_argument`.
 */
function submit(request: GenerateRequest, source: Source, sequence: LlamaSequence, gate: Gate): Answer {
  const trace = new Trace()
  const state = new AnswerState(request.prompt as readonly number[], request, source, trace)
  const life = new Lifetime()
  return submitSteps(request.id, state, life, {
    enter: (signal) => gate.enter({ signal }),
    run: () => tokens(state, trace, request, sequence, life),
  })
}

/** Computes an answer; yields after each token. */
async function* tokens(
  state: AnswerState,
  trace: Trace,
  request: GenerateRequest,
  sequence: LlamaSequence,
  life: Lifetime,
): AsyncGenerator<void> {
  throwIfAborted(life.signal)
  state.onAdmit()
  await sequence.clearHistory()
  state.onPrefill(0, state.ids.length)
  const evaluated = sequence.evaluateWithMetadata(state.ids, { confidence: true }, optionsOf(request))
  life.hold(() => evaluated.return(undefined).catch(() => {}))
  for await (const { token, confidence } of evaluated) {
    throwIfAborted(life.signal)
    trace.mark('prefilled')
    if (state.show({ id: token, logprob: Math.log(Math.max(confidence, 1e-30)) }) === undefined) return
    yield
  }
  throwIfAborted(life.signal)
  throw new ForetokenError('internal', 'llama.cpp ended before the answer did')
}

/**
 * Returns a request's options as llama.cpp takes them. Throws `unsupported` for those that are not
 * passed on.
 */
function optionsOf({
  temperature,
  topK,
  topP,
  minP,
  seed,
  repetitionPenalty,
  presencePenalty,
  frequencyPenalty,
  logitBias,
  topLogprobs,
  minTokens,
  stopTokenIds,
}: GenerateRequest): object {
  if (topLogprobs || minTokens || stopTokenIds?.length || (logitBias && Object.keys(logitBias).length > 0))
    throw new ForetokenError(
      'unsupported',
      'this companion runs llama.cpp without top log-probabilities, logit bias, minimum lengths and stop ids; the edge answers itself',
    )
  const penalties = repetitionPenalty || presencePenalty || frequencyPenalty
  return {
    temperature: temperature ?? 0,
    yieldEogToken: true,
    ...(topK && { topK }),
    ...(topP && { topP }),
    ...(minP && { minP }),
    ...(seed !== undefined && { seed: Number(BigInt.asUintN(32, BigInt(seed))) }),
    ...(penalties && {
      repeatPenalty: {
        penalty: repetitionPenalty ?? 1,
        presencePenalty: presencePenalty ?? 0,
        frequencyPenalty: frequencyPenalty ?? 0,
      },
    }),
  }
}

async function ggufPath(model: string, files: OpenModelFiles): Promise<string> {
  const file = files.files.find((name) => name.endsWith('.gguf'))
  if (!file)
    throw new ForetokenError(
      'unsupported',
      `${model} is not a GGUF file, the only format that llama.cpp reads; use --backend wasm`,
    )
  // The name of a file's source is its path.
  return (await files.open(file)).name
}
