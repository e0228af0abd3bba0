/** `foretoken embed`: prints vectors of texts as JSON lines. */

import { type AnyEngine, type EmbedOptions, type Engine, ForetokenError, type ModelArchive } from '../../node/index.ts'
import { wayOf } from '../../src/engine/embed.ts'
import { type EmbedCounts, embedGroup } from '../embed/run.ts'
import { type BadLine, inGroups, type NumberedText, textsOfFile, textsOfJsonl } from '../embed/texts.ts'
import { exitCodes } from '../exit.ts'
import type { Flags } from '../flags.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { openAny } from '../session.ts'
import { note, print, StatusLine } from '../terminal.ts'
import { textOfArgument, textOfOperands } from '../text-argument.ts'

/** Texts, and characters, that are embedded before their lines are printed. */
const group = { texts: 64, characters: 1 << 18 }

export async function embed({ flags, operands }: Invocation, signal: AbortSignal): Promise<number | undefined> {
  if (flags.model === undefined)
    throw new UsageError('embed needs an embedding model: foretoken embed -m qwen3-embedding-0.6b "some text"')
  const texts = await textsOf(flags, operands)
  const way = {
    ...(flags.kind !== undefined && { kind: flags.kind }),
    ...(flags['text-prefix'] !== undefined && { prefix: flags['text-prefix'] }),
    ...(flags.pooling !== undefined && { pooling: flags.pooling }),
    ...(flags.dimensions !== undefined && { dimensions: flags.dimensions }),
    ...(flags['no-normalize'] && { normalize: false }),
  }
  // Refuses a model for answers, and a kind that it does not know, before its weights are read.
  const onOpen = (archive: ModelArchive) => checkWay(archive, way)
  const { model, engine } = await openAny(flags, signal, { use: 'any', onOpen })
  const line = new StatusLine()
  const counts: EmbedCounts = { embedded: 0, errors: 0, tokens: 0 }
  const begun = performance.now()
  try {
    const embedder = embedderOf(engine, model)
    for await (const lines of inGroups(texts, group.texts, group.characters)) {
      const done = counts.embedded + counts.errors
      const options = {
        signal,
        ...way,
        onProgress: (now: number) => line.show(`${done + now} texts  ${rate(counts.tokens, begun)}`),
      }
      for (const text of await embedGroup(embedder, lines, options, counts)) {
        line.clear()
        print(text)
      }
    }
    line.clear()
    const { embedded, errors, tokens } = counts
    const failed = errors > 0 ? `, ${errors} errors` : ''
    if (embedded + errors !== 1 || errors > 0)
      note(`${model}: ${embedded} texts${failed} · ${tokens} tokens · ${rate(tokens, begun)}`, 'aside')
    return errors > 0 ? exitCodes.failed.code : undefined
  } finally {
    line.clear()
    await engine.close()
  }
}

/** Throws what `wayOf` throws; a refusal that begins with the name of an option names the flag. */
function checkWay(archive: ModelArchive, way: EmbedOptions): void {
  try {
    wayOf(archive, way)
  } catch (error) {
    if (!(error instanceof ForetokenError) || error.code !== 'bad_argument') throw error
    throw new ForetokenError('bad_argument', error.message.replace(/^(?=(dimensions|pooling) is )/, '--'), {
      cause: error,
    })
  }
}

/** Throws `unsupported` for an ONNX export for answers. */
function embedderOf(engine: AnyEngine, model: string): Pick<Engine, 'embed'> {
  if (!engine.embed)
    throw new ForetokenError(
      'unsupported',
      `${model} is an ONNX export for answers, which makes no embeddings; use an export of an encoder, a GGUF, or a folder`,
    )
  return engine as Pick<Engine, 'embed'>
}

function rate(tokens: number, begun: number): string {
  return `${Math.round((tokens * 1000) / Math.max(1, performance.now() - begun))} tokens/s`
}

async function textsOf(
  { file, jsonl }: Flags,
  operands: readonly string[],
): Promise<AsyncGenerator<NumberedText | BadLine>> {
  if (file !== undefined && operands.length > 0) throw new UsageError('use either a text or --file, not both')
  if (operands.length === 1 && operands[0] === '-') return textsOfFile('-', jsonl ?? false)
  if (operands.length > 0 && jsonl) {
    const rows: string[] = []
    for (const operand of operands) rows.push(await textOfArgument(operand))
    return textsOfJsonl(rows)
  }
  if (operands.length > 0) return single(await textOfOperands(operands))
  if (file !== undefined) return textsOfFile(file, jsonl ?? file.endsWith('.jsonl'))
  if (!process.stdin.isTTY) return textsOfFile('-', jsonl ?? false)
  throw new UsageError('embed needs a text or --file FILE: foretoken embed -m MODEL "some text"')
}

async function* single(text: string): AsyncGenerator<NumberedText> {
  yield { line: 1, text }
}
