/** Embeds groups of texts, and makes a line of output of each. */
import { asForetokenError, at, type EmbedOptions, type Engine, type ForetokenError } from '../../node/index.ts'
import type { BadLine, NumberedText } from './texts.ts'

export interface EmbedCounts {
  embedded: number
  errors: number
  tokens: number
}

/**
 * Embeds a group, and returns a JSON line for each of its lines, in their order. A text that is
 * refused fails alone. Throws what fails all texts.
 */
export async function embedGroup(
  engine: Pick<Engine, 'embed'>,
  group: readonly (NumberedText | BadLine)[],
  options: EmbedOptions,
  counts: EmbedCounts,
): Promise<string[]> {
  const texts = group.filter((line): line is NumberedText => 'text' in line)
  const made = await vectorsOf(engine, texts, options)
  return group.map((line) => {
    const found = 'text' in line ? at(made, texts.indexOf(line)) : line
    const { line: number, id } = line as NumberedText
    const head = { line: number, ...(id !== undefined && { id }) }
    if ('error' in found) {
      counts.errors++
      const { code, message } = found.error
      return JSON.stringify({ ...head, error: { code, message } })
    }
    counts.embedded++
    counts.tokens += found.tokens
    // Nine digits tell any two 32-bit floats apart.
    const embedding = Array.from(found.vector, (value) => Number(value.toPrecision(9)))
    return JSON.stringify({ ...head, tokens: found.tokens, embedding })
  })
}

type Made = { readonly vector: Float32Array; readonly tokens: number } | { readonly error: ForetokenError }

async function vectorsOf(
  engine: Pick<Engine, 'embed'>,
  texts: readonly NumberedText[],
  options: EmbedOptions,
): Promise<Made[]> {
  try {
    // A text that is given alone has no number in messages: its line has one.
    const [alone, ...more] = texts.map(({ text }) => text)
    const given = alone === undefined ? [] : more.length === 0 ? alone : [alone, ...more]
    const { vectors, tokens } = await engine.embed(given, options)
    return vectors.map((vector, index) => ({ vector, tokens: at(tokens, index) }))
  } catch (error) {
    const failure = asForetokenError(error)
    const ofText = failure.code === 'context_exceeded' || failure.code === 'empty_prompt'
    if (!ofText) throw failure
    const [only, ...more] = texts
    if (!only || more.length === 0) return [{ error: failure }]
    const half = texts.length >> 1
    const parts = [texts.slice(0, half), texts.slice(half)]
    return [...(await vectorsOf(engine, at(parts, 0), options)), ...(await vectorsOf(engine, at(parts, 1), options))]
  }
}
