/** `foretoken batch IN.jsonl OUT.jsonl`: answers many prompts in shared passes. */
import { realpath, stat } from 'node:fs/promises'
import { defaultModel, ForetokenError, fileError, withLock } from '../../node/index.ts'
import { AnswerFile, type AnswerSink, stdoutAnswers } from '../batch/answers.ts'
import { type BatchCounts, batchProgress } from '../batch/progress.ts'
import { readLines } from '../batch/read-lines.ts'
import { checkBelongs, runBatch } from '../batch/run.ts'
import { guideOfFlags } from '../guide.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { checkCore, generateOptions, open } from '../session.ts'
import { namesOf, requireDistinct } from '../several.ts'
import { note, print } from '../terminal.ts'

export async function batch({ flags, operands, all }: Invocation, signal: AbortSignal): Promise<void> {
  const [from, to, ...more] = operands
  if (from === undefined || to === undefined || more.length > 0)
    throw new UsageError('batch takes an input and an output: foretoken batch IN.jsonl OUT.jsonl')
  if (await same(from, to)) throw new UsageError('the input and the output are the same file; choose another output')
  const models = namesOf(all.model ?? [flags.model ?? defaultModel])
  const several = models.length > 1
  if (from === '-' && several)
    throw new UsageError('several models read IN once for each, so it cannot be stdin; use a file')
  const work = async () => {
    const output = to === '-' ? stdoutAnswers() : await AnswerFile.open(to)
    try {
      await answer(from, output)
    } finally {
      await output.close()
    }
  }
  const onWait = (holder: string) => note(`waiting: ${holder} may still be writing ${to}`)
  if (to === '-') return work()
  await withLock(`${to}.lock`, work, { signal, refuse: `${to} is being written by another run`, onWait })

  async function answer(from: string, output: AnswerSink): Promise<void> {
    // Checks the files before loading a model. Stdin can be read only once.
    const total = from === '-' ? undefined : await checkBelongs(readLines(from), output)
    const guide = await guideOfFlags(flags)
    // What must be downloaded is asked for, and what cannot be loaded is refused, before the first answer.
    const needed = { use: 'chat', kvTokens: Math.max(16_384, 2 * (flags.context ?? 0)) } as const
    if (several) await requireDistinct(models)
    if (several) for (const { model } of models) await checkCore({ ...flags, model }, signal, needed)
    const progress = batchProgress(total)
    const names = models.map(({ name }) => name)
    let counts = noCounts
    try {
      // One model after another, so that only one is in memory, and its passes are full.
      for (const { model: file, name: model } of models) {
        const { engine } = await open({ ...flags, model: file }, signal, needed)
        const before = counts
        try {
          const own = await runBatch({
            engine,
            model: several ? model : file,
            ...(several && { models: names }),
            input: readLines(from),
            output,
            defaults: { ...generateOptions(flags, signal), ...(guide && { guide }) },
            options: { signal, ...(flags.concurrency !== undefined && { concurrency: flags.concurrency }) },
            onProgress: (now) => progress.update(sumOf(before, now)),
          })
          counts = sumOf(before, own)
        } finally {
          await engine.close()
        }
      }
      progress.end()
      const model = several ? names.join(', ') : (models[0]?.model ?? defaultModel)
      const seconds = Number(progress.seconds().toFixed(3))
      if (flags.json) print(JSON.stringify({ model, output: output.path, ...counts, seconds }))
      else {
        const { answered, errors, resumed, prompt_tokens, completion_tokens } = counts
        const rate = Math.round((prompt_tokens + completion_tokens) / Math.max(seconds, 0.001))
        const earlier = resumed > 0 ? `, ${resumed} answered earlier` : ''
        note(`${output.path}: ${answered} answered, ${errors} errors${earlier} · ${seconds} s · ${rate} tokens/s`)
      }
    } finally {
      progress.end()
    }
  }
}

const noCounts: BatchCounts = {
  answered: 0,
  errors: 0,
  resumed: 0,
  prompt_tokens: 0,
  completion_tokens: 0,
  cached_tokens: 0,
}

function sumOf(one: BatchCounts, other: BatchCounts): BatchCounts {
  return {
    answered: one.answered + other.answered,
    errors: one.errors + other.errors,
    resumed: one.resumed + other.resumed,
    prompt_tokens: one.prompt_tokens + other.prompt_tokens,
    completion_tokens: one.completion_tokens + other.completion_tokens,
    cached_tokens: one.cached_tokens + other.cached_tokens,
  }
}

async function same(from: string, to: string): Promise<boolean> {
  if (from === '-') return false
  if (to === '-') {
    await stat(from).catch((error) => {
      throw fileError(error, from)
    })
    return false
  }
  const [one, other] = await Promise.all([from, to].map((path) => realpath(path).catch(() => undefined)))
  if (one === undefined) throw new ForetokenError('not_found', `${from}: no such file`)
  return one === other
}
