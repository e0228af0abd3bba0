/**
 * Writes large answers as JSON in turns with the host: thousands of vectors or log-probabilities
 * would hold all other streams while they are written at once.
 */
import { nextTurn } from '../src/index.ts'

/** Elements of a list that are made or written before the host gets a turn. */
const most = 64

/** Returns a list of what `make` makes of each element; lets the host go on after each stretch of them. */
export async function inTurns<T, U>(
  list: readonly T[],
  make: (element: T, index: number) => U,
  signal?: AbortSignal,
  stretch = most,
): Promise<U[]> {
  const made: U[] = []
  for (const [index, element] of list.entries()) {
    made.push(make(element, index))
    if (index % stretch === stretch - 1) await nextTurn(signal)
  }
  return made
}

/** Returns what `JSON.stringify` returns of plain data; lets the host go on after each stretch of a long list. */
export async function jsonOf(value: unknown, signal?: AbortSignal): Promise<string> {
  const pieces: string[] = []
  await write(value)
  return pieces.join('')

  async function write(value: unknown): Promise<void> {
    if (Array.isArray(value)) await writeList(value)
    else if (typeof value === 'object' && value !== null && !('toJSON' in value)) await writeFields(value)
    else pieces.push(JSON.stringify(value) ?? 'null')
  }

  async function writeList(list: readonly unknown[]): Promise<void> {
    pieces.push('[')
    for (let from = 0; from < list.length; from += most) {
      if (from > 0) pieces.push(',')
      const part = list.slice(from, from + most)
      // Lists in a list are walked themselves.
      if (part.some((element) => isLarge(element)))
        for (const [index, element] of part.entries()) {
          if (index > 0) pieces.push(',')
          await write(element)
        }
      else pieces.push(JSON.stringify(part).slice(1, -1))
      if (from + most < list.length) await nextTurn(signal)
    }
    pieces.push(']')
  }

  async function writeFields(fields: object): Promise<void> {
    pieces.push('{')
    let first = true
    for (const [key, field] of Object.entries(fields)) {
      if (field === undefined || typeof field === 'function' || typeof field === 'symbol') continue
      pieces.push(`${first ? '' : ','}${JSON.stringify(key)}:`)
      first = false
      await write(field)
    }
    pieces.push('}')
  }
}

/** Whether a value holds a long list, as a choice holds its log-probabilities. */
function isLarge(value: unknown, depth = 4): boolean {
  if (typeof value !== 'object' || value === null || depth === 0) return false
  if (Array.isArray(value)) return value.length > most
  return Object.values(value).some((field) => isLarge(field, depth - 1))
}
