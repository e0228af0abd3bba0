/** Reads records of benchmarks from files, and says why others cannot be read. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface BenchRecord {
  /** Relative to the folder. */
  readonly file: string
  readonly bench: string
  /** The date in its name, such as 2026-11-27. */
  readonly date: string
  /** The machine's processor and number of cores. */
  readonly machine: string
  readonly commit: string
  readonly load: string
  readonly data: Readonly<Record<string, unknown>>
}

export interface Records {
  readonly records: readonly BenchRecord[]
  readonly unreadable: readonly { readonly file: string; readonly why: string }[]
}

/** Reads all JSON files below a folder, oldest first. */
export function readRecords(folder: string): Records {
  const records: BenchRecord[] = []
  const unreadable: { file: string; why: string }[] = []
  for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()) {
    if (!file.endsWith('.json')) continue
    try {
      records.push(recordOf(file.replaceAll('\\', '/'), JSON.parse(readFileSync(join(folder, file), 'utf8'))))
    } catch (error) {
      unreadable.push({ file, why: (error as Error).message })
    }
  }
  records.sort((a, b) => (a.date === b.date ? (a.file < b.file ? -1 : 1) : a.date < b.date ? -1 : 1))
  return { records, unreadable }
}

function recordOf(file: string, data: Record<string, unknown>): BenchRecord {
  const { machine } = data
  const description = (typeof machine === 'object' && machine !== null ? machine : { cpu: machine }) as Record<
    string,
    unknown
  >
  const bench = data.bench ?? data.kind
  if (typeof bench !== 'string') throw new Error('it does not name its benchmark')
  const loads = (description.loadavg ?? data.loadavg) as readonly number[] | undefined
  const load = loads ? loads.join(', ') : 'unknown'
  const [, date] = /(\d{4}-\d\d-\d\d)/.exec(file) ?? []
  const { cpu = 'unknown', cores } = description
  return {
    file,
    bench,
    date: date ?? 'undated',
    machine: `${cpu}${cores ? `, ${cores} cores` : ''}`,
    commit: String(description.commit ?? data.commit ?? 'unknown'),
    load,
    data,
  }
}

/** Returns the rows of a record, under either of their names. */
export function rowsOf({ data }: BenchRecord): readonly Readonly<Record<string, unknown>>[] {
  const rows = data.results ?? data.rows
  return Array.isArray(rows) ? rows : []
}
