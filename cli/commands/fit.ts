/** `foretoken fit`: fits a KV predictor for a model, in closed form. */
import { readFile, rm } from 'node:fs/promises'
import { aliases, defaultModel, type Engine, type EngineOptions, ForetokenError, withLock } from '../../node/index.ts'
import { type Agreement, gateFor } from '../../src/evaluate/agreement.ts'
import type { FitProgress } from '../../src/fit/fit.ts'
import { memorySource } from '../../src/model/source.ts'
import { type LinearMap, mapsOf, type PredictorFile, readPredictor, writePredictor } from '../../src/predict/file.ts'
import { type AuxiliaryHeader, type PredictorHeader, stateWidth, versionOf } from '../../src/predict/header.ts'
import { type PredictorPlan, sourcesOf } from '../../src/predict/plan.ts'
import { type DocumentSets, documentIds, readDocuments } from '../fit/documents.ts'
import { endsOf, layersOf, planOf } from '../fit/plan.ts'
import { type Search, searchPlan } from '../fit/search.ts'
import { agreementOn, type Begun, fitSources } from '../fit/sources.ts'
import type { Flags } from '../flags.ts'
import { type Invocation, startSeed, UsageError } from '../parse.ts'
import { open, writeWhole } from '../session.ts'
import { note, print, StatusLine, size } from '../terminal.ts'

/** Number of held-out documents, and of the tokens after each prompt that are compared. */
const judged = { documents: 60, continuation: 32 }

export async function fit({ flags, operands }: Invocation, signal: AbortSignal): Promise<void> {
  const { data, out, tokens = 80_000, ridge = 1e-3 } = flags
  const seed = startSeed(flags)
  if (operands.length > 0 || data === undefined || out === undefined)
    throw new UsageError(
      'fit takes no operands and needs --data and --out: foretoken fit --base MODEL --data FILE --out FILE',
    )
  for (const flag of ['m', 'run', 'attention', 'taps', 'aux'] as const)
    if (flags.budget !== undefined && flags[flag] !== undefined)
      throw new UsageError(`--budget chooses the layers, so it cannot be combined with --${flag}`)
  if (flags['aux-layers'] && flags.aux === undefined)
    throw new UsageError('--aux-layers needs --aux, the model that it selects layers of')
  const name = flags.base ?? flags.model ?? defaultModel
  const most = flags['most-prompt'] ?? 1024
  const sets = await readDocuments(data, seed)
  // Stdout needs no lock, and a fit to stdout cannot be resumed.
  if (out === '-') await work()
  else await withLock(`${out}.lock`, work, { signal, refuse: `another run is writing ${out}` })

  async function work(): Promise<void> {
    const line = new StatusLine()
    const begun = performance.now()
    const auxiliaryLayers = flags['aux-layers'] && layersOf(flags['aux-layers'], '--aux-layers')
    const opened = async (needed: Pick<EngineOptions, 'predictor'> = {}) => {
      const layers = auxiliaryLayers && { auxiliaryLayers }
      return (await open({ ...flags, model: name }, signal, { prefixBytes: 0, ...layers, ...needed })).engine
    }
    const training = { data: data!.map((path) => path.split('/').at(-1)), seed, tokens, ridge, longest: most }
    const partial = out === '-' ? undefined : `${out}.partial`
    const { budget } = flags
    const searched =
      budget === undefined ? undefined : ((await searchedBefore(partial, budget)) ?? (await search(budget)))
    const engine = await opened()
    let file: PredictorFile
    try {
      const plan = searched?.plan ?? planOf(engine, flags)
      const header = headerOf(engine, name, plan, searched ? { ...training, search: searched.record } : training, flags)
      const before = await resumed(partial, header)
      const options = {
        ...{ seed: seed * 1000, most, tokens, lambda: ridge, signal },
        onProgress: ({ source, sources, tokens: now }: FitProgress) => {
          const whole = Math.min(1, (source + now / tokens) / sources)
          const bar = '█'.repeat(Math.round(20 * whole)).padEnd(20)
          const gone = (performance.now() - begun) / 1000
          const left = gone * ((1 - whole) / Math.max(whole - before.done / sources, 1e-3))
          line.show(`fitting ${source + 1} of ${sources}  ${bar}  ${now} tokens  ${Math.round(left)} s left`)
        },
        onSource: async (source: number, fitted: PredictorFile) => {
          if (partial === undefined) return
          await writeWhole(partial, await writePredictor({ ...fitted, header: withDone(header, source + 1) }))
        },
      }
      file = await fitSources(engine, header, sets.training, options, before)
    } finally {
      line.clear()
      await engine.close()
    }
    const judgement = await judge(file, sets, { flags: { ...flags, model: name }, seed, most, signal, line })
    const bytes = await writePredictor({ ...file, header: { ...file.header, ...judgement } })
    await writeWhole(out!, bytes)
    if (partial !== undefined) await rm(partial, { force: true })
    const { quality } = judgement
    const seconds = Math.round((performance.now() - begun) / 1000)
    if (flags.json) print(JSON.stringify({ model: name, file: out, bytes: bytes.length, seconds, quality }))
    else {
      const { kl, top1, first } = quality
      note(
        `${out === '-' ? 'stdout' : out}: ${size(bytes.length)} in ${seconds} s · held-out KL ${kl.toFixed(3)}, same token ${percent(top1)}, ` +
          `same first token ${percent(first)} · use it with --prefill refined --predictor ${out === '-' ? 'FILE' : out}`,
      )
    }

    async function search(budget: number): Promise<Search> {
      const found = await searchPlan(
        (predictor) => opened(predictor && { predictor }),
        (engine, plan) => headerOf(engine, name, plan, training, flags),
        sets,
        {
          ...{ budget, most, seed, signal, lambda: ridge, ends: endsOf(flags) },
          tokens: Math.min(tokens, 8000),
          onProgress: (text) => line.show(`searching  ${text}`),
        },
      )
      line.clear()
      return found
    }
  }
}

function headerOf(engine: Engine, name: string, plan: PredictorPlan, training: object, flags: Flags): PredictorHeader {
  const { layers, hidden, kvHeads, headDim } = engine.archive.config
  return {
    version: versionOf(plan),
    base: engine.identity,
    base_name: aliases[name]?.file ?? engine.archive.name,
    layers,
    hidden,
    kv_width: kvHeads * headDim,
    plan,
    ...(plan.kind === 'separate' && { aux: auxiliaryOf(engine, flags) }),
    gate: 0,
    training: { method: 'closed form', ...training },
    quality: {},
  }
}

function auxiliaryOf({ workbench }: Engine, flags: Flags): AuxiliaryHeader {
  const { config, identity } = workbench.auxiliary!
  const kept = flags['aux-layers'] && layersOf(flags['aux-layers'], '--aux-layers')
  return { identity, name: flags.aux!, layers: config.layers, hidden: config.hidden, ...(kept && { kept }) }
}

/** Returns the search result of an earlier run with the same budget, or undefined. */
async function searchedBefore(path: string | undefined, budget: number): Promise<Search | undefined> {
  if (path === undefined) return undefined
  const bytes = await readFile(path).catch(() => undefined)
  const before = bytes && (await readPredictor(memorySource(path, bytes)).catch(() => undefined))
  const record = before?.header.training.search as Search['record'] | undefined
  return before?.header.plan.kind === 'shared' && record?.budget === budget
    ? { plan: before.header.plan, record }
    : undefined
}

/** Returns the progress of an earlier run of the same fit. */
async function resumed(path: string | undefined, header: PredictorHeader): Promise<Begun> {
  const bytes = path === undefined ? undefined : await readFile(path).catch(() => undefined)
  // The file format requires all maps; those that are not fitted yet are zeros.
  const empty = mapsOf(header).map(({ name, n, k }): [string, LinearMap] => {
    const zeros = { weight: new Int8Array(n * k), scale: new Uint16Array((n * k) / 32), bias: new Float32Array(n) }
    return [name, { n, k, ...zeros }]
  })
  const ones = sourcesOf(header.plan, header.layers).map(() => new Float32Array(stateWidth(header)).fill(1))
  if (path === undefined || bytes === undefined) return { maps: new Map(empty), gains: ones, done: 0 }
  const before = await readPredictor(memorySource(path, bytes)).catch(() => undefined)
  const done = Number(before?.header.training.sources_done)
  const same = before && JSON.stringify(before.header) === JSON.stringify(withDone(header, done))
  if (same) return { maps: new Map(before.maps), gains: [...before.gains], done }
  throw new ForetokenError(
    'bad_argument',
    `${path} belongs to another fit, or is damaged; remove it, or choose another --out`,
  )
}

function withDone(header: PredictorHeader, sources_done: number): PredictorHeader {
  return { ...header, training: { ...header.training, sources_done } }
}

/** Measures the quality on held-out rows, and chooses the gate of `auto`. */
async function judge(
  file: PredictorFile,
  sets: DocumentSets,
  {
    flags,
    seed,
    most,
    signal,
    line,
  }: { flags: Flags; seed: number; most: number; signal: AbortSignal; line: StatusLine },
) {
  const predictor = memorySource('the new predictor', await writePredictor(file))
  const { engine } = await open(flags, signal, { prefixBytes: 0, predictor })
  const all: Agreement[] = []
  try {
    const { plan } = file.header
    const least = judged.continuation + plan.sinks + 16 + plan.window
    for await (const ids of documentIds(engine, sets.heldOut, { seed: seed + 7, most })) {
      signal.throwIfAborted()
      if (all.length === judged.documents) break
      line.show(`judging on held-out text  ${all.length + 1} of ${judged.documents}`)
      if (ids.length < least) continue
      const [prompt, rest] = [ids.slice(0, -judged.continuation), ids.slice(-judged.continuation)]
      all.push(await agreementOn(engine, { prompt, continuations: [rest] }))
    }
  } finally {
    line.clear()
    await engine.close()
  }
  const mean = (of: (one: (typeof all)[number]) => number) =>
    Number((all.reduce((sum, one) => sum + of(one), 0) / all.length).toPrecision(4))
  const quality = {
    held_out: 'rows of the same files that were kept back',
    documents: all.length,
    tokens: all.length * judged.continuation,
    kl: mean(({ kl }) => kl),
    top1: mean(({ top1 }) => top1),
    first: mean(({ first }) => first),
  }
  const gate = gateFor(all, 0.98)
  return { quality, gate: Number.isFinite(gate) ? Number(gate.toPrecision(4)) : 1e9 }
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}
