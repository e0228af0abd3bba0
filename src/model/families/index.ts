/**
 * Lists the families that foretoken runs. A new family is a file beside this one, an entry of
 * `families`, and a golden folder `test/vectors/tiny-NAME`; from GGUF it may also need a row in
 * `pre-tokenizers.ts`. CONTRIBUTING.md describes the steps.
 */
import { ForetokenError } from '../../base/errors.ts'
import type { ModelConfig, ModelSpec } from '../../base/model.ts'
import { show } from '../json.ts'
import { exaone4 } from './exaone4.ts'
import type { Family, GgufForm, HuggingFaceForm } from './family.ts'
import { gemmaEmbeddings } from './gemma-embedding.ts'
import { gemma2 } from './gemma2.ts'
import { gemma3 } from './gemma3.ts'
import { granite } from './granite.ts'
import { hunyuanDense } from './hunyuan-dense.ts'
import { lfm2 } from './lfm2.ts'
import { llama } from './llama.ts'
import { ministral } from './ministral.ts'
import { mistral } from './mistral.ts'
import { olmo2 } from './olmo2.ts'
import { openElm } from './openelm.ts'
import { phi3 } from './phi3.ts'
import { qwen2 } from './qwen2.ts'
import { qwen3 } from './qwen3.ts'
import { refusalOf } from './refused.ts'
import { smolLm3 } from './smollm3.ts'

export const families: readonly Family[] = [
  llama,
  mistral,
  ministral,
  qwen2,
  qwen3,
  smolLm3,
  gemma2,
  gemma3,
  gemmaEmbeddings,
  phi3,
  granite,
  olmo2,
  exaone4,
  hunyuanDense,
  lfm2,
  openElm,
]

export const familyNames: readonly string[] = families.map(({ name }) => name)

/** Returns the family of a checked config. */
export function familyOf({ architecture }: Pick<ModelConfig, 'architecture'>): Family {
  const family = families.find(({ name }) => name === architecture)
  if (!family) throw new ForetokenError('unsupported', `no family of models is called ${show(architecture)}`)
  return family
}

/** Returns the recipe of a model with a checked config. */
export function specOf(config: ModelConfig): ModelSpec {
  return familyOf(config).spec(config)
}

/** Returns the form of the family that a GGUF calls `name`. Throws `unsupported`. */
export function ggufFormOf(name: unknown, where: string): GgufForm {
  return formOf(
    families.flatMap(({ gguf }) => gguf ?? []),
    name,
    'GGUF',
    'general.architecture',
    where,
  )
}

/**
 * Returns the form of the family whose config.json has the `model_type` `name`. Throws
 * `unsupported`.
 */
export function huggingFaceFormOf(name: unknown, where: string): HuggingFaceForm {
  return formOf(
    families.flatMap(({ huggingFace }) => huggingFace ?? []),
    name,
    'safetensors',
    'model_type',
    where,
  )
}

/**
 * Returns advice for a folder without tokenizer.json, by the `model_type` of its config.json;
 * undefined if there is none for the family.
 */
export function adviceWithoutTokenizer(name: unknown): string | undefined {
  return families.find(({ huggingFace }) => huggingFace?.name === name)?.huggingFace?.withoutTokenizer
}

function formOf<F extends { readonly name: string }>(
  forms: readonly F[],
  name: unknown,
  files: string,
  key: string,
  where: string,
): F {
  const form = forms.find((form) => form.name === name)
  const reason = refusalOf(name)
  if (!form)
    throw new ForetokenError(
      'unsupported',
      `${where}: architecture ${show(name)}${reason === undefined ? '' : ` is not run: ${reason}`}; foretoken runs ${forms.map(({ name }) => name).join(', ')} from ${files} (${key})`,
    )
  return form
}
