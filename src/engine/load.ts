/** The parts of an engine that read and write text. */
export interface TextParts {
  readonly tokenizer: Tokenizer
  readonly prompts: Prompts
  readonly guides: LazyGuides | undefined
}

/** Loads the parts of an engine: the model, and the auxiliary model or maps of a predictor. */
import type { Backend } from '../backend/backend.ts'
import { createWasmBackend } from '../backend/wasm/backend.ts'
import { defined } from '../base/at.ts'
import type { ModelFiles } from '../base/bytes.ts'
import { withArguments } from '../base/checks.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import type { ModelArchive } from '../base/model.ts'
import { PagedCache } from '../kv/paged.ts'
import { LoadedModel } from '../model/forward.ts'
import { balanceHash } from '../model/key-balance.ts'
import { withLayers } from '../model/layers.ts'
import { openModel } from '../model/open.ts'
import { vocabularyOf } from '../model/tokenizer-json.ts'
import { checkAuxiliary, checkBase } from '../predict/check-header.ts'
import { readPredictor } from '../predict/file.ts'
import { inputsOf } from '../predict/header.ts'
import { loadPredictor } from '../predict/load.ts'
import { type PredictingForward, predicting } from '../prefill/open.ts'
import type { Auxiliary } from '../prefill/separate.ts'
import type { Prompts } from '../tokens/prompts.ts'
import { createTokenizer, type Tokenizer } from '../tokens/tokenizer.ts'
import type { ResidualSteps } from '../transfer/residual.ts'
import { evenSteps, readSteps } from '../transfer/steps.ts'
import type { LazyGuides } from './guides.ts'
import { type EngineOptions, type Settings, settingsOf } from './options.ts'

/** What a load has opened before it reads weights. */
export interface Opened {
  readonly archive: ModelArchive
  readonly tokenizer: Tokenizer
  readonly backend: Backend
  readonly settings: Settings
}

/**
 * Opens a model, its tokenizer and the backend, and checks the options against them. Closes the backend
 * if that fails. Throws the errors of opening a model, `unsupported` and `bad_argument`.
 */
export async function openParts(files: ModelFiles, checked: EngineOptions): Promise<Opened> {
  let { backend } = checked
  try {
    const archive = await openModel(files, { ignoreConfig: checked.ignoreConfig })
    await shown(archive, checked.onOpen)
    // Created before the weights are read, so that its garbage is collected before memory gets
    // scarce.
    const tokenizer = createTokenizer(archive.tokenizer)
    backend ??= await withArguments('Engine.load', () => createWasmBackend({ ...checked, modules: checked.wasm }))
    return { archive, tokenizer, backend, settings: settingsOf(archive, checked, backend.threads) }
  } catch (error) {
    await backend?.close()
    throw error
  }
}

/** Shows a program the header of a model, and waits for what it says. */
async function shown(archive: ModelArchive, onOpen: EngineOptions['onOpen']): Promise<void> {
  try {
    await onOpen?.(archive)
  } catch (error) {
    throw asForetokenError(error, 'bad_argument', 'onOpen failed')
  }
}

export interface Parts {
  readonly model: LoadedModel
  /** Hash of the weights and the key balance; undefined if pages store K unchanged. */
  readonly balance: string | undefined
  /** The smaller model whose states a predictor reads; undefined without one. */
  readonly auxiliary: Auxiliary | undefined
  /** The model with its predictor; undefined without one. */
  readonly predicting: PredictingForward | undefined
  /**
   * How residuals of a prediction are quantised, and the predictor's SHA-256; undefined without a
   * predictor.
   */
  readonly residuals: { readonly steps: ResidualSteps; readonly sha256: string } | undefined
}

/**
 * Streams the weights into the backend. Throws the errors of opening and loading a model,
 * `bad_predictor` and `wrong_model`.
 */
export async function loadParts(
  archive: ModelArchive,
  backend: Backend,
  settings: Settings,
  options: EngineOptions,
): Promise<Parts> {
  const file = options.predictor && (await readPredictor(options.predictor))
  const model = await LoadedModel.load(backend, archive, {
    ...settings.model,
    inputs: file ? inputsOf(file.header) : 0,
  })
  if (file) checkBase(file.header, model.config, model.identity, archive.name)
  const balance = await balanceHash(model.keyBalances, model.identity)
  const kept = options.auxiliaryLayers ?? file?.header.aux?.kept
  const auxiliary = await loadAuxiliary(archive, backend, settings, options, kept)
  if (!file) return { model, balance, auxiliary, predicting: undefined, residuals: undefined }
  if (auxiliary) checkAuxiliary(file.header, auxiliary.model.config, auxiliary.model.identity)
  const forward = predicting({ model, backend, auxiliary }, loadPredictor(backend, file))
  const { plan } = file.header
  const steps = options.residualSteps
    ? await readSteps(options.residualSteps, model.config, plan, model.identity)
    : evenSteps(model.config, plan)
  return { model, balance, auxiliary, predicting: forward, residuals: { steps, sha256: defined(file.sha256) } }
}

async function loadAuxiliary(
  base: ModelArchive,
  backend: Backend,
  { model: { passTokens, pageEntries, kv, signal }, pages, context }: Settings,
  { auxiliary: files, ignoreConfig }: EngineOptions,
  kept: readonly number[] | undefined,
): Promise<Auxiliary | undefined> {
  if (!files) return undefined
  const whole = await openModel(files, { ignoreConfig })
  const archive = kept ? await withLayers(whole, kept) : whole
  const [vocabulary, expected] = [archive, base].map(({ tokenizer }) => JSON.stringify(vocabularyOf(tokenizer)))
  if (vocabulary !== expected)
    throw new ForetokenError(
      'wrong_model',
      `${archive.name} has another vocabulary than ${base.name}: an auxiliary model must read the same token ids`,
    )
  const options = { passTokens, logitRows: 1, kv, signal, ...(pageEntries !== undefined && { pageEntries }) }
  const model = await LoadedModel.load(backend, archive, options)
  // It has as many pages as the base, so that a prompt that fits into one fits into the other.
  return { model, cache: new PagedCache(model.pool, pages, context, model.config.ropeLong?.beyond) }
}
