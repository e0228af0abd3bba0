/** `foretoken ls --available`: the models that have a short name, with what fits this machine. */
import {
  aliases,
  availableMemory,
  type CatalogueEntry,
  catalogue,
  fits,
  listModels,
  memoryOf,
  predictorPath,
} from '../node/index.ts'
import { families } from '../src/model/families/index.ts'
import { print, size } from './terminal.ts'

interface Row extends CatalogueEntry {
  readonly name: string
  /** Bytes of its files; undefined until it has been pulled, unless the name stands for one exact file. */
  readonly bytes: number | undefined
  readonly pulled: boolean
  /** Estimated from the number of weights, in bytes. */
  readonly memory: number
  readonly fits: boolean
  /** Whether this version of foretoken runs the family. */
  readonly runs: boolean
  readonly predictor: boolean
}

export async function listAvailable(json: boolean): Promise<void> {
  const free = availableMemory()
  const rows = await rowsOf(free)
  if (json) {
    print(JSON.stringify({ free_memory: free, models: rows.map((row) => ({ ...row, bytes: row.bytes ?? null })) }))
    return
  }
  const width = Math.max(...rows.map(({ name }) => name.length))
  print(
    `${'name'.padEnd(width)}  ${'size'.padStart(8)}  ${'memory'.padStart(8)}  here  licence, context, what it is good for`,
  )
  for (const row of rows) print(lineOf(row, width))
  print(`\nMemory is estimated; ${size(free)} are free. Sizes of other files are known once they have been pulled.`)
}

function lineOf(row: Row, width: number): string {
  const { name, bytes, memory, pulled, licence, context, about, kind } = row
  const verdicts = [
    ...(row.runs ? [] : ['not run by this version']),
    ...(row.fits ? [] : ['does not fit']),
    ...(row.predictor ? ['has a predictor'] : []),
  ]
  const what = kind === 'chat' ? about : `${kind}: ${about}`
  const more = verdicts.length > 0 ? ` (${verdicts.join(', ')})` : ''
  const known = bytes === undefined ? 'unknown' : size(bytes)
  const about1 = `${licence}, ${context}, ${what}${more}`
  return `${name.padEnd(width)}  ${known.padStart(8)}  ${`~${size(memory)}`.padStart(8)}  ${(pulled ? 'yes' : '').padEnd(4)}  ${about1}`
}

async function rowsOf(free: number): Promise<Row[]> {
  const known = new Map((await listModels()).map((model) => [model.name, model]))
  const run = new Set(families.flatMap(({ gguf, huggingFace }) => [gguf?.name, huggingFace?.name]))
  return Object.entries(catalogue).map(([name, entry]): Row => {
    const model = known.get(name)
    const bytes = model?.files.reduce((sum, file) => sum + file.bytes, 0) ?? aliases[name]?.bytes
    return {
      name,
      ...entry,
      bytes,
      pulled: model !== undefined,
      memory: memoryOf(entry),
      fits: fits(entry, free),
      runs: run.has(entry.family),
      predictor: predictorPath(name) !== undefined,
    }
  })
}
