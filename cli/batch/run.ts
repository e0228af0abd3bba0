/** Runs a batch from input lines to output lines, writing each answer when it is complete. */

import { namedModel } from '../../edge/ollama/names.ts'
import {
  asForetokenError,
  type Engine,
  ForetokenError,
  type GenerateRequest,
  type ManyOptions,
  nearestOf,
} from '../../node/index.ts'
import type { AnswerSink } from './answers.ts'
import { attempt, type BatchLine, LineError, parseLine } from './lines.ts'
import { type Answered, errorLine, hashOf, resultLine } from './output.ts'
import type { BatchCounts } from './progress.ts'
import { type InputLine, maxLineBytes } from './read-lines.ts'
import { asksForTools, type PlannedRequest, type PlanningEngine, withTools } from './tools.ts'

export interface BatchRun {
  /** Lines with tools need all of it. */
  readonly engine: Pick<Engine, 'generateMany'> & Partial<PlanningEngine>
  readonly model: string
  /** The names of all models of the batch, each of which gets a run of its own; the first is the default. */
  readonly models?: readonly string[]
  readonly input: AsyncIterable<InputLine>
  readonly output: AnswerSink
  /** Options for lines that do not set them. */
  readonly defaults: Partial<GenerateRequest>
  readonly options: ManyOptions
  readonly onProgress?: (counts: BatchCounts) => void
}

/**
 * Answers all lines that have no answer yet. Rejects with errors that stop the whole batch:
 * `aborted`, an output that can't be written, an input that can't be read.
 */
export async function runBatch(run: BatchRun): Promise<BatchCounts> {
  const { engine, output, options, onProgress } = run
  const counts = { answered: 0, errors: 0, resumed: 0, prompt_tokens: 0, completion_tokens: 0, cached_tokens: 0 }
  const pending: Pending[] = []
  const fail = async (answered: Answered, error: ForetokenError) => {
    counts.errors++
    await output.append(errorLine(answered, error))
    onProgress?.(counts)
  }
  for await (const outcome of engine.generateMany(requests(run, counts, pending, fail), options)) {
    const answered = pending[outcome.index]!
    delete pending[outcome.index]
    if (outcome.error?.code === 'aborted') throw outcome.error
    if (outcome.error) {
      await fail(answered, outcome.error)
      continue
    }
    const { result } = outcome
    counts.answered++
    counts.prompt_tokens += result.timings.prompt_tokens
    counts.completion_tokens += result.ids.length
    counts.cached_tokens += result.cached_tokens
    await output.append(resultLine(answered, result, run.model, Date.now(), answered.plan?.read(result)))
    onProgress?.(counts)
  }
  return counts
}

interface Pending extends Answered {
  /** Reads the answer of a line with tools. */
  readonly plan?: PlannedRequest | undefined
}

/** Yields the requests of unanswered lines, and writes error lines for those that can't be run. */
async function* requests(
  { engine, model, models = [model], input, output, defaults, options }: BatchRun,
  counts: BatchCounts,
  pending: Pending[],
  fail: (answered: Answered, error: ForetokenError) => Promise<void>,
): AsyncGenerator<GenerateRequest> {
  const owners = new Map<string, number>()
  for await (const { number, bytes } of input) {
    if (options.signal?.aborted) throw new ForetokenError('aborted', 'the batch was interrupted')
    if (bytes && isBlank(bytes)) continue
    const hash = bytes ? hashOf(bytes) : 'too-long'
    const before = output.answered.get(number)
    if (before !== undefined && before !== hash) throw foreign(output.path, number)
    const { id, form, request, plan, error, model: meant } = readLine({ engine, model, models }, bytes, defaults)
    const answered: Answered = { line: number, input: hash, id, form }
    const owner = id === undefined ? undefined : owners.get(id)
    if (id !== undefined && owner === undefined) owners.set(id, number)
    // Another run answers it.
    if (meant !== model) continue
    if (before !== undefined) counts.resumed++
    else if (error) await fail(answered, error)
    else if (owner !== undefined)
      await fail(
        answered,
        new ForetokenError('bad_argument', `line ${owner} already uses the id ${id}; choose another`),
      )
    else {
      pending.push({ ...answered, plan })
      yield request!
    }
  }
}

/** Returns the number of input lines. Throws if `output` answers another input. */
export async function checkBelongs(lines: AsyncIterable<InputLine>, output: AnswerSink): Promise<number> {
  let total = 0
  const left = new Set(output.answered.keys())
  for await (const { number, bytes } of lines) {
    if (bytes && isBlank(bytes)) continue
    total++
    const before = output.answered.get(number)
    if (before !== undefined && before !== (bytes ? hashOf(bytes) : 'too-long')) throw foreign(output.path, number)
    left.delete(number)
  }
  for (const number of left) throw foreign(output.path, number)
  return total
}

interface Read extends Pick<Pending, 'id' | 'form' | 'plan'> {
  readonly model: string | undefined
  readonly request?: GenerateRequest
  readonly error?: ForetokenError
}

/** Reads a line, and finds which of `models` it is for: the first, if it can't be run. */
function readLine(
  { engine, model, models }: Pick<BatchRun, 'engine' | 'model'> & { readonly models: readonly string[] },
  bytes: Uint8Array | undefined,
  defaults: Partial<GenerateRequest>,
): Read {
  let meant = models[0]
  try {
    if (!bytes) throw new LineError(`the line is longer than ${maxLineBytes} bytes`, 'plain')
    const line = parseLine(bytes, defaults)
    const { id, form, request, tools } = line
    meant = meantModel(line, models)
    // Another run of the batch plans the lines of other models, with their engines.
    if (meant !== model || !tools || !asksForTools(tools)) return { id, form, request, model: meant }
    const plan = attempt(form, id, () => withTools(engine as PlanningEngine, request, tools))
    return { id, form, request: plan.request, plan, model: meant }
  } catch (error) {
    if (error instanceof LineError) return { id: error.id, form: error.form, model: meant, error }
    throw asForetokenError(error)
  }
}

/** Returns the model that a line is for. Throws `LineError` if it names none of the batch. */
function meantModel({ id, form, model: named }: BatchLine, models: readonly string[]): string | undefined {
  // OpenAI's requests must name a model; where there is only one, it is meant.
  if (named === undefined || (models.length === 1 && form !== 'plain')) return models[0]
  const model = namedModel(named, models)
  if (model !== undefined) return model
  const near = nearestOf(named.slice(0, 100), models, 3)
  const hint = near.length > 0 ? `the nearest is ${near.join(', ')}` : `it has ${models.join(', ')}`
  throw new LineError(`model: this batch has no ${JSON.stringify(named.slice(0, 100))}; ${hint}`, form, id)
}

function isBlank(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 32 || byte === 9 || byte === 13)
}

function foreign(path: string, line: number): ForetokenError {
  return new ForetokenError(
    'bad_argument',
    `${path} answers another input: line ${line} differs; choose another output file, or remove it`,
  )
}
