import type { ByteSource } from '../base/bytes.ts'
import { ForetokenError } from '../base/errors.ts'
import { type JsonBounds, JsonScan } from './json-scan.ts'

export type Json = Record<string, unknown>

/**
 * Bytes asked of a source at once: all of what a published model has, but not all of what a hostile
 * one may have.
 */
const pieceBytes = 16 << 20

/** Reads a JSON file whose top is an object. Throws `bad_model`. */
export async function readJson(source: ByteSource, bounds: JsonBounds): Promise<Json> {
  return readJsonAt(source, 0, source.size, bounds)
}

/**
 * `length` bytes of `source` from `offset` on, as JSON whose top is an object. Throws `bad_model`.
 */
export async function readJsonAt(
  source: ByteSource,
  offset: number,
  length: number,
  bounds: JsonBounds,
): Promise<Json> {
  if (length > bounds.bytes)
    throw new ForetokenError(
      'bad_model',
      `${source.name} has ${length} bytes of JSON; at most ${bounds.bytes} are read`,
    )
  const bytes = new Uint8Array(length)
  const scan = new JsonScan(source.name, bounds)
  for (let at = 0; at < length; at += pieceBytes) {
    const piece = bytes.subarray(at, Math.min(length, at + pieceBytes))
    await source.read(offset + at, piece)
    scan.push(piece)
  }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new ForetokenError('bad_model', `${source.name} is not valid UTF-8`, { cause })
  }
  return parseJson(text, source.name)
}

/** Parses a text within bounds as a JSON object. Throws `bad_model`. */
export function parseBoundedJson(text: string, name: string, bounds: JsonBounds): Json {
  const bytes = new TextEncoder().encode(text)
  if (bytes.length > bounds.bytes)
    throw new ForetokenError('bad_model', `${name} has ${bytes.length} bytes of JSON; at most ${bounds.bytes} are read`)
  new JsonScan(name, bounds).push(bytes)
  return parseJson(text, name)
}

function parseJson(text: string, name: string): Json {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new ForetokenError('bad_model', `${name} is not valid JSON: ${(cause as Error).message}`, { cause })
  }
  if (!isObject(value)) throw new ForetokenError('bad_model', `${name} is not a JSON object`)
  return value
}

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Renders a value of a file for a message: short and on one line. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 77)}...` : value)
  if (Array.isArray(value)) return `a list of ${value.length}`
  return typeof value === 'object' && value !== null ? 'an object' : String(value)
}
