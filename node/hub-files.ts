/** Chooses the files of a repository that make a model. */
import { ForetokenError } from '../src/index.ts'
import { isProjector } from '../src/model/open.ts'

/** Best first: the types that the kernels run fastest, then those that lose least. */
const preferred = ['q4_1', 'q4_0', 'q4_k_m', 'q4_k_s', 'q8_0', 'q5_k_m', 'q6_k', 'bf16', 'f16', 'f32']

const companions = [
  'tokenizer.json',
  'tokenizer_config.json',
  'generation_config.json',
  'chat_template.jinja',
  // How sentence-transformers makes embeddings.
  'modules.json',
  'config_sentence_transformers.json',
]

/** The configuration and the weights of a module that makes embeddings. */
const modules = /^\d{1,2}_[A-Za-z]{1,40}\/(config\.json|model\.safetensors)$/

/**
 * Returns the files to fetch: safetensors at the top of the repository with the files that belong
 * to them, or else the best .gguf.
 */
export function chooseFiles(repo: string, files: readonly string[]): string[] {
  const top = files.filter((file) => !file.includes('/'))
  const weights = top.filter((file) => /^model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?$/.test(file))
  if (weights.length > 0 && top.includes('config.json'))
    return [
      'config.json',
      ...companions.filter((file) => top.includes(file)),
      ...files.filter((file) => modules.test(file)),
      ...weights,
    ]
  const ggufs = files.filter((file) => file.toLowerCase().endsWith('.gguf') && !isProjector(file))
  if (ggufs.length === 1) return ggufs
  for (const type of preferred) {
    const matches = ggufs.filter((file) => new RegExp(`[-._]${type}\\.gguf$`, 'i').test(file))
    if (matches.length === 1) return matches
  }
  if (ggufs.length > 0)
    throw new ForetokenError(
      'bad_argument',
      `${repo} has ${ggufs.length} .gguf files; name one of them: ${ggufs
        .slice(0, 12)
        .map((file) => `hf:${repo}/${file}`)
        .join(', ')}`,
    )
  throw new ForetokenError(
    'not_found',
    `${repo} holds neither model.safetensors with config.json nor the .gguf file of a model; name another repository`,
  )
}
