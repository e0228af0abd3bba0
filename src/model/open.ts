/** Opens a model in any of the supported forms. */

import type { ModelFiles } from '../base/bytes.ts'
import { functionOf, listOf, textOf, withArguments, wrong } from '../base/checks.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import { type Checks, checkedFields, wholeFrom } from '../base/fields.ts'
import type { ModelArchive } from '../base/model.ts'
import { withAdvice } from './advice.ts'
import { openGguf } from './gguf-archive.ts'
import { openHuggingFace } from './huggingface.ts'
import { ignoredKeysOf } from './ignored-keys.ts'
import { openPrepared, preparedEnding } from './prepared.ts'
import { checkedSource } from './source.ts'

export interface OpenOptions {
  /**
   * Maximum number of tokens in a sequence. It no longer has an effect: it was for models with
   * windows of attention, which are now computed.
   */
  readonly context?: number | undefined
  /**
   * Keys of the configuration to ignore, such as `['new_key']` of a config.json or
   * `['llama.new_key']` of a GGUF: keys that would be refused because they may change the
   * computation. The architecture, or the name of the object that a key is in, may be left out.
   * Absent keys are allowed; `ModelArchive.ignored` tells them.
   */
  readonly ignoreConfig?: readonly string[] | undefined
}

/** The checks of `OpenOptions`. */
export const openChecks: Checks<OpenOptions> = {
  context: wholeFrom(1),
  ignoreConfig: (_, value) => [...ignoredKeysOf(value as readonly string[])],
}

/**
 * Reads and checks everything but the weights. Throws `bad_model`, `unsupported`, `not_found`,
 * `bad_argument`.
 */
export async function openModel(files: ModelFiles, options: OpenOptions = {}): Promise<ModelArchive> {
  const { ignoreConfig = [] } = withArguments('openModel', () =>
    checkedFields('the options', options, openChecks, 'be absent'),
  )
  const ignored = new Set(ignoreConfig)
  try {
    return await opened(
      withArguments('openModel', () => checkedFiles(files)),
      ignored,
    )
  } catch (error) {
    // The caller's sources may throw anything.
    throw withAdvice(asForetokenError(error, 'io', 'reading the model'))
  }
}

/**
 * Returns files that check what the caller's methods return, and call them on the caller's object.
 */
export function checkedFiles(files: ModelFiles): ModelFiles {
  if (typeof files !== 'object' || files === null) throw wrong('files', 'a ModelFiles', files)
  const { name, files: names } = files
  functionOf('files.open', files.open)
  const checked = listOf<string>('files.files', names).map((file) => textOf('files.files', file))
  return {
    name: textOf('files.name', name),
    files: checked,
    open: async (file) => checkedSource(file, await files.open(file)),
  }
}

/** Whether a GGUF is the part of a model that reads images, by the name that llama.cpp gives it. */
export function isProjector(file: string): boolean {
  return /(^|[-_./])mmproj[^/]*\.gguf$/i.test(file)
}

async function opened(files: ModelFiles, ignored: ReadonlySet<string>): Promise<ModelArchive> {
  const all = files.files.filter((file) => file.toLowerCase().endsWith('.gguf'))
  const models = all.filter((file) => !isProjector(file))
  // A projector alone is refused by what it holds.
  const gguf = models.length > 0 ? models : all
  const [only] = gguf
  if (only !== undefined && gguf.length === 1) {
    const archive = await openGguf(files.name, await files.open(only), ignored)
    const unused = all.filter((file) => file !== only)
    if (unused.length === 0) return archive
    const warning = `${files.name}: ${unused.join(', ')} is for images and not used: only the text of ${only} is run`
    return { ...archive, warnings: [...archive.warnings, warning] }
  }
  if (gguf.length > 1)
    throw new ForetokenError(
      'unsupported',
      `${files.name} has ${gguf.length} GGUF files (${gguf.join(', ')}); name one of them`,
    )
  const prepared = files.files.filter((file) => file.endsWith(preparedEnding))
  const [weights] = prepared
  if (weights !== undefined && prepared.length === 1) return openPrepared(files.name, await files.open(weights))
  // Weights below the top are those of modules that make embeddings.
  const isWeights = (file: string) => !file.includes('/') && file.endsWith('.safetensors')
  if (files.files.some((file) => file.endsWith('.onnx')) && !files.files.some(isWeights))
    throw new ForetokenError(
      'unsupported',
      `${files.name} is an ONNX export: run, chat, embed and serve take one; name a .gguf file or a folder of safetensors here`,
    )
  if (files.files.includes('config.json')) return openHuggingFace(files, ignored)
  throw new ForetokenError(
    'not_found',
    `${files.name} has neither a .gguf file nor a config.json (files: ${files.files.slice(0, 8).join(', ') || 'none'}); name a .gguf file, or the folder of a model`,
  )
}
