/** `foretoken pull`, `ls` and `rm`: manage models on disk. */
import { fileSource, listModels, pullModel, removeModel } from '../../node/index.ts'
import { readGguf } from '../../src/model/gguf.ts'
import { licenceOf } from '../../src/model/gguf-archive.ts'
import { assentTo } from '../assent.ts'
import { listAvailable } from '../available.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { pulling } from '../session.ts'
import { name, note, print, size } from '../terminal.ts'

export async function pull({ flags, operands }: Invocation, signal: AbortSignal): Promise<void> {
  const wanted = only(operands, 'pull')
  await assentTo(wanted, flags, signal, true)
  const { options, end } = pulling({ ...flags, model: wanted }, signal)
  const model = await pullModel(wanted, options).finally(end)
  const licence = await licenceOfFiles(model.files)
  if (flags.json) print(JSON.stringify({ ...model, bytes: total(model), ...(licence && { licence }) }))
  else {
    for (const file of model.files) print(`${name(file.path)}  ${size(file.bytes)}`)
    if (licence) note(`licence: ${name(licence)}`, 'aside')
  }
}

/** Returns the licence that a model's GGUF names; undefined if there is none, or it cannot be read. */
async function licenceOfFiles(files: readonly { readonly path: string }[]): Promise<string | undefined> {
  const path = files.map((file) => file.path).find((path) => /\.gguf$/i.test(path))
  if (path === undefined) return undefined
  const source = await fileSource(path)
  try {
    return licenceOf((await readGguf(source)).metadata).licence
  } catch {
    // The file was pulled; what is wrong with it is said when it is used.
    return undefined
  } finally {
    await source.close()
  }
}

export async function ls({ flags, operands }: Invocation): Promise<void> {
  if (operands.length > 0)
    throw new UsageError(`ls takes no operands; to see one model: foretoken inspect ${operands[0]}`)
  const models = await listModels()
  if (flags.available) return listAvailable(flags.json ?? false)
  if (flags.json) {
    print(JSON.stringify({ models: models.map((model) => ({ ...model, bytes: total(model) })) }))
    return
  }
  if (models.length === 0)
    note(
      'no models yet; "foretoken pull smollm2-135m" downloads the default model, and "foretoken ls --available" lists more',
    )
  const width = Math.max(0, ...models.map((model) => model.name.length))
  for (const model of models)
    print(
      name(
        `${model.name.padEnd(width)}  ${size(total(model)).padStart(7)}  ${model.pulled.slice(0, 10)}  ${model.source}`,
      ),
    )
}

export async function rm({ flags, operands }: Invocation): Promise<void> {
  const removed = only(operands, 'rm')
  const left: string[] = []
  const freed = await removeModel(removed, (path) => left.push(path))
  for (const path of left) note(`kept, because it is not in a cache: ${path}`)
  if (flags.json) print(JSON.stringify({ removed, bytes: freed }))
  else print(`removed ${name(removed)}, ${size(freed)} freed`)
}

function total(model: { files: readonly { bytes: number }[] }): number {
  return model.files.reduce((sum, file) => sum + file.bytes, 0)
}

function only(operands: readonly string[], command: string): string {
  if (operands.length !== 1) throw new UsageError(`${command} takes one model: foretoken ${command} smollm2-135m`)
  return operands[0]!
}
