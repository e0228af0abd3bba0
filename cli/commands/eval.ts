/** `foretoken eval`: compares a predictor's answers with exact ones and with cheaper methods. */
import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { machine } from '../../bench/machine.ts'
import { qualityChart } from '../../bench/quality/chart.ts'
import { draftsOf, judgeQuality, type QualityRow } from '../../bench/quality/judge.ts'
import { type MethodName, methodNames } from '../../bench/quality/methods.ts'
import { overlapWith } from '../../bench/quality/overlap.ts'
import { ScoreLog } from '../../bench/quality/score-log.ts'
import { suites } from '../../bench/quality/suites.ts'
import { defaultModel, type Engine, ForetokenError } from '../../node/index.ts'
import { swiftKvFit, swiftKvMaps } from '../eval/swiftkv.ts'
import { legend, suiteTables } from '../eval/tables.ts'
import type { Flags } from '../flags.ts'
import { type Invocation, startSeed, UsageError } from '../parse.ts'
import { open, writeWhole } from '../session.ts'
import { note, print, StatusLine } from '../terminal.ts'

/** Tokens of context after a prompt, for its answer. */
const following = 128

export async function evaluate({ flags, operands }: Invocation, signal: AbortSignal): Promise<void> {
  if (operands.length > 0) throw new UsageError('eval takes no operands; use --suite to choose suites')
  const chosen = choiceOf(flags)
  const { lengths, cases, seed, folder } = chosen
  const { tokens = swiftKvFit.tokens } = flags
  const line = new StatusLine()
  const onProgress = (text: string) => {
    signal.throwIfAborted()
    line.show(text)
  }
  const texts = await trainingTexts(folder)
  const methods = chosen.methods.filter((name) => name !== 'swiftkv' || texts.length > 0)
  if (methods.length < chosen.methods.length) {
    const why = `swiftkv is fitted from texts, and there are none in ${join(folder, 'train')}`
    if (flags.methods) throw new ForetokenError('not_found', why)
    note(`${why}; it is left out`)
  }
  const model = flags.base ?? flags.model ?? defaultModel
  try {
    const trainedOn = await trainedOnOf(folder, chosen.suites, texts, onProgress)
    const engine = await opened(flags, model, lengths, signal)
    try {
      const all = await draftsOf(engine, { ...chosen, ...(trainedOn && { trainedOn }) })
      const { plan, training } = engine.predictor!
      noteUnknown(training.data, texts)
      const about = { bench: 'eval', model, weights: engine.identity, kv: flags.kv ?? 'f32', seed }
      const log = await ScoreLog.open(flags.resume, { ...about, predictor: engine.predictor, tokens_fitted: tokens })
      const maps = swiftKvMaps({
        open: async () => {
          const { predictor, prefill, aux, context, ...rest } = flags
          return (await open({ ...rest, model }, signal, { prefixBytes: 0 })).engine
        },
        ...{ texts, seed, tokens, keep: flags.resume, signal, onProgress },
      })
      const onRows = (rows: readonly QualityRow[]) => {
        line.clear()
        if (!flags.json) print(suiteTables(rows).join('\n'))
      }
      const results = await judgeQuality(engine, all, {
        ...{ methods, seed, shares: chosen.shares, maps, log, onRows, onProgress },
      })
      line.clear()
      if (flags.plot) {
        const chart = qualityChart(results, { suite: chosen.suites[0]!, length: lengths.at(-1)! })
        await writeWhole(flags.plot, new TextEncoder().encode(chart))
      }
      const overlap = trainedOn ? 'texts that share 13 words with those in train/ are left out' : 'not checked'
      const head = {
        bench: 'eval',
        model,
        build: engine.backend.build,
        kv: flags.kv ?? 'f32',
        machine: machine(),
        seed,
        plan,
        training,
        overlap,
      }
      print(
        flags.json
          ? JSON.stringify({ ...head, cases, swiftkv: { ...swiftKvFit, tokens }, results })
          : legend(results).join('\n'),
      )
    } finally {
      await engine.close()
    }
  } finally {
    line.clear()
  }
}

/** Returns what to measure. Throws `UsageError`, and `not_found` without a data folder. */
function choiceOf(flags: Flags) {
  const { suite = Object.keys(suites), lengths = [512, 1024], cases = 30, work = [] } = flags
  for (const name of suite)
    if (!Object.hasOwn(suites, name))
      throw new UsageError(`no suite ${name}; there are ${Object.keys(suites).join(', ')}`)
  const known = Object.keys(methodNames)
  const { methods = known } = flags
  for (const name of methods)
    if (!known.includes(name)) throw new UsageError(`no method ${name}; there are ${known.join(', ')}`)
  const folder = flags.data?.[0] ?? process.env.FORETOKEN_DATA
  if (!folder)
    throw new ForetokenError('not_found', 'eval needs its data sets: set their folder with --data or FORETOKEN_DATA')
  return {
    suites: [...new Set(suite)],
    methods: [...new Set(methods)] as readonly MethodName[],
    lengths: [...new Set(lengths)],
    shares: [...new Set(work)].map((percent) => percent / 100),
    cases,
    seed: startSeed(flags),
    folder,
  }
}

async function opened(flags: Flags, model: string, lengths: readonly number[], signal: AbortSignal): Promise<Engine> {
  const longest = Math.max(...lengths)
  const context = longest + following
  if (flags.context !== undefined && flags.context < context)
    throw new UsageError(`--lengths ${longest} needs a context of ${context}, and --context is ${flags.context}`)
  try {
    return (await open({ prefill: 'predicted', ...flags, model }, signal, { context, prefixBytes: 0 })).engine
  } catch (error) {
    if (!(error instanceof ForetokenError) || !error.message.startsWith('context is')) throw error
    throw new ForetokenError(error.code, `--lengths ${longest} and an answer are too long: ${error.message}`, {
      cause: error,
    })
  }
}

/** Returns the paths of the texts for training in the data folder; none if it has no such folder. */
async function trainingTexts(folder: string): Promise<string[]> {
  const inside = join(folder, 'train')
  const names = await readdir(inside).catch(() => [])
  return names
    .filter((name) => /\.(jsonl?|txt)(\.gz)?$/.test(name))
    .sort()
    .map((name) => join(inside, name))
}

/** Says which texts the predictor was trained on that cannot be compared with those to judge on. */
function noteUnknown(data: unknown, texts: readonly string[]): void {
  if (texts.length === 0 || !Array.isArray(data)) return
  const unknown = data.filter((name) => !texts.some((path) => basename(path) === name))
  if (unknown.length > 0)
    note(`the predictor was trained on ${unknown.join(', ')}, too: not in train/, so not compared with the suites`)
}

/** Returns a function that knows texts that were trained on; undefined without texts for training. */
async function trainedOnOf(
  folder: string,
  names: readonly string[],
  texts: readonly string[],
  onProgress: (text: string) => void,
): Promise<((text: string) => boolean) | undefined> {
  if (texts.length === 0) {
    note(`${join(folder, 'train')} has no texts, so what was trained on may be judged on, too`)
    return undefined
  }
  const judged = names.flatMap((name) => suites[name]?.files ?? []).map((file) => join(folder, file))
  return overlapWith(texts, judged, (file) => onProgress(`looking for texts to judge on in ${file}`))
}
