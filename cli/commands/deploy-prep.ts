/** `foretoken deploy-prep`: writes a model for a Worker, sharded and hashed, with a memory plan. */
import { planLine } from '../../edge/budget.ts'
import { defaultModel, modelFiles, predictorFile, shippedPredictor } from '../../node/index.ts'
import { type PrepareOptions, prepare } from '../../node/prepare.ts'
import { assentTo } from '../assent.ts'
import type { Flags } from '../flags.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { notChunks, openSaved, type SavedFile } from '../saved.ts'
import { ignoring, pulling } from '../session.ts'
import { print, StatusLine, size, warn } from '../terminal.ts'
import { checkIgnored } from '../uses.ts'

export async function deployPrep({ flags, operands }: Invocation, signal: AbortSignal): Promise<void> {
  if (operands.length > 0) throw new UsageError('deploy-prep takes no operands; use --model to choose a model')
  if (flags.out === undefined) throw new UsageError('deploy-prep needs --out FOLDER')
  const model = flags.model ?? defaultModel
  await assentTo(model, flags, signal)
  const { options, end } = pulling({ ...flags, model }, signal)
  const files = await modelFiles(model, options).finally(end)
  const line = new StatusLine()
  const saved: SavedFile[] = []
  try {
    const onProgress = (done: number, total: number) => line.show(`writing  ${Math.floor((100 * done) / total)} %`)
    for (const path of flags.prefix ?? []) saved.push(await openSaved(path))
    const other = saved.find(({ kind }) => kind !== 'chunks')
    if (other) throw new UsageError(notChunks('deploy-prep', other.path, other.kind))
    const chunks = saved.map(({ source }) => source)
    const done = await prepare(files, flags.out, {
      ...(await optionsOf(model, flags)),
      chunks,
      onProgress,
      onOpen: checkIgnored,
    })
    line.clear()
    warn(done)
    if (flags.json) return print(JSON.stringify({ model, out: flags.out, ...done }))
    const { context, kvTokens, kv, streams } = done.settings
    print(`${done.files.length} files, ${size(done.bytes)}, in ${flags.out}`)
    print(`memory: ${planLine(done.plan)}`)
    print(`context ${context}, ${kvTokens} tokens of ${kv} K and V for ${streams} streams`)
    print(`manifest sha256 ${done.manifestSha256}`)
  } finally {
    line.clear()
    for (const file of saved) await file.close()
    await files.close()
  }
}

async function optionsOf(model: string, flags: Flags): Promise<PrepareOptions> {
  if (flags['no-predictor'] && flags.predictor !== undefined)
    throw new UsageError('--predictor and --no-predictor cannot be combined')
  const predictor = flags['no-predictor']
    ? undefined
    : flags.predictor === undefined
      ? await shippedPredictor(model)
      : await predictorFile(flags.predictor)
  const mebibytes = (value: number | undefined) => (value === undefined ? undefined : value << 20)
  const options = {
    predictor,
    eightBitRows: flags['eight-bit-rows'],
    context: flags.context,
    ...ignoring(flags),
    kv: flags.kv,
    passTokens: flags['pass-tokens'],
    streams: flags.streams,
    guides: flags.guides,
    shardBytes: mebibytes(flags['shard-mib']),
    limit: mebibytes(flags['limit-mib']),
  }
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}
