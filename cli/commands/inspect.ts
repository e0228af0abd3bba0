/** `foretoken inspect`: describes a model and the memory that it takes, without reading weights. */
import { defaultModel, type ModelArchive, modelFiles, openModel } from '../../node/index.ts'
import { pageLayout, pageTokens } from '../../src/base/kv.ts'
import type { LayerShape } from '../../src/base/model.ts'
import { specOf } from '../../src/model/families/index.ts'
import { assentTo } from '../assent.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { ignoring, pulling } from '../session.ts'
import { name, print, size, warn } from '../terminal.ts'
import { checkIgnored } from '../uses.ts'

export async function inspect({ flags, operands }: Invocation, signal: AbortSignal): Promise<void> {
  if (operands.length > 1) throw new UsageError('inspect takes one model')
  const model = operands[0] ?? flags.model ?? defaultModel
  await assentTo(model, flags, signal)
  const { options, end } = pulling({ ...flags, model }, signal)
  const files = await modelFiles(model, options).finally(end)
  try {
    const archive = await openModel(files, ignoring(flags))
    checkIgnored(archive)
    warn(archive)
    const facts = { model, ...describe(archive) }
    const report = { ...facts, memory: memoryPlan(facts) }
    print(flags.json ? JSON.stringify(report) : table(report))
  } finally {
    await files.close()
  }
}

function describe(archive: ModelArchive) {
  const types: Record<string, { tensors: number; parameters: number; bytes: number }> = {}
  const all = { tensors: 0, parameters: 0, bytes: 0 }
  for (const { type, rows, cols, bytes } of archive.tensors.values()) {
    types[type] ??= { tensors: 0, parameters: 0, bytes: 0 }
    for (const sum of [types[type], all]) {
      sum.tensors++
      sum.parameters += rows * cols
      sum.bytes += bytes
    }
  }
  const { chatTemplate, bosToken, eosToken, eosIds, addBos } = archive.tokenizer
  const tokenizer = {
    vocab: archive.config.vocab,
    bos_token: bosToken ?? null,
    eos_token: eosToken ?? null,
    eos_ids: eosIds,
    add_bos: addBos,
    chat_template: chatTemplate !== undefined,
  }
  const licence = archive.licence === undefined ? {} : { licence: archive.licence }
  return { fingerprint: archive.fingerprint, config: archive.config, ...all, types, tokenizer, ...licence }
}

type Facts = ReturnType<typeof describe>

/** Returns the memory in bytes: weights as in the file, pages as in `pageLayout`. */
function memoryPlan({ bytes, config }: Facts) {
  const spec = specOf(config)
  const kv = Object.fromEntries(
    (['f32', 'f16', 'int8'] as const).map((type) => {
      const page = pageLayout(spec, type).bytes
      return [type, { bytes_per_token: page / pageTokens, at_1024: (page * 1024) / pageTokens }]
    }),
  )
  return { weights: bytes, kv }
}

function table(report: Facts & { model: string; memory: ReturnType<typeof memoryPlan> }): string {
  const { config, tokenizer, memory } = report
  const spec = specOf(config)
  const span = (name: keyof LayerShape) => {
    const attending = spec.layers.filter(({ convolution }) => !convolution)
    const least = attending.reduce((most, layer) => Math.min(most, layer[name]), config[name])
    return least === config[name] ? `${least}` : `${least} to ${config[name]}`
  }
  const convolutions = spec.layers.filter(({ convolution }) => convolution).length
  const layers = `${config.layers} layers${convolutions > 0 ? ` (${convolutions} of them convolutions)` : ''}`
  const rows: [string, string][] = [
    ['model', report.model],
    ['architecture', `${spec.family}, ${layers}, ${config.hidden} wide, ${span('intermediate')} in the MLP`],
    ['heads', `${span('heads')} of ${config.headDim}, ${span('kvHeads')} for keys and values`],
    ['context', `${config.maxContext} tokens`],
    [
      'parameters',
      `${(report.parameters / 1e6).toFixed(1)} million in ${report.tensors} tensors, ${size(report.bytes)}`,
    ],
    ...Object.entries(report.types).map(([type, t]): [string, string] => [
      `  ${type}`,
      `${t.tensors} ${t.tensors === 1 ? 'tensor' : 'tensors'}, ${size(t.bytes)}`,
    ]),
    [
      'tokenizer',
      `${tokenizer.vocab} tokens, end ${tokenizer.eos_ids.join(', ')}, chat template ${tokenizer.chat_template ? 'yes' : 'no'}`,
    ],
    ['memory', `weights ${size(memory.weights)}`],
    ...Object.entries(memory.kv).map(([type, kv]): [string, string] => [
      `  kv ${type}`,
      `${size(kv.bytes_per_token)} a token, ${size(kv.at_1024)} at 1,024`,
    ]),
    ['fingerprint', report.fingerprint],
    ...(report.licence === undefined ? [] : [['licence', report.licence] as [string, string]]),
  ]
  return rows.map(([title, value]) => `${title.padEnd(13)} ${name(value)}`).join('\n')
}
