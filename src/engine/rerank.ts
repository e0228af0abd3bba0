/**
 * Ranks documents by a causal reranker: the model is asked whether a document answers a query, and
 * the score is the probability of "yes" against "no", as the model card of Qwen3-Reranker computes
 * it. The documents of a query share the K and V of what comes before them.
 */
import { at } from '../base/at.ts'
import { fieldsOf, listOf, signalOf, textOf, withArguments } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { nextTurn } from '../base/next-turn.ts'
import { type BulkJob, runBulk } from './bulk.ts'
import type { BulkEngine } from './embed.ts'

export interface RerankOptions {
  /** What makes a document relevant, in a sentence. Default: that it answers a web search. */
  readonly instruction?: string
  /**
   * Treats a model as a reranker whose name and file do not say that it is one. Default false.
   */
  readonly force?: boolean
  /** Requests of one tenant share cached prefixes, and tenants take turns. Default ''. */
  readonly tenant?: string
  readonly signal?: AbortSignal | undefined
  /** Called after each document, with the number of documents that are done and of all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

export interface Ranking {
  /** The score of each document, from 0 to 1, in the order of the documents. */
  readonly scores: readonly number[]
  /** Number of tokens that were read for each document, with the query and the question. */
  readonly tokens: readonly number[]
}

const instructions = 'Given a web search query, retrieve relevant passages that answer the query'

/** The conversation that Qwen3-Reranker was trained on, around the query and the document. */
const opening =
  '<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. ' +
  'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n<Instruct>: '
const closing = '<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n'

/**
 * Scores each document. Rejects with `unsupported` for a model that is not a reranker, and with
 * `bad_argument`, `context_exceeded`, `busy` and `aborted`.
 */
export async function rerank(
  engine: BulkEngine,
  query: string,
  documents: readonly string[],
  unchecked: RerankOptions,
): Promise<Ranking> {
  const { scheduler, model } = engine
  const { passTokens } = model
  const { options, frame, texts } = withArguments('rerank', () => {
    const options = fieldsOf('the options', unchecked, 'be absent')
    const mark = (text: string) => engine.tokenizer.origin.mark(text)
    signalOf('signal', options.signal)
    // `map` would skip the holes of a sparse list.
    const texts = Array.from(listOf<unknown>('documents', documents), (text, index) =>
      textOf(`documents[${index}]`, text),
    )
    const instruction = textOf('instruction', options.instruction ?? instructions)
    const frame = { before: `${opening}${mark(instruction)}\n<Query>: `, query: mark(textOf('query', query)) }
    return { options, frame, texts: texts.map(mark) }
  })
  const { yes, no } = answersOf(engine, options.force === true)
  const question = questionOf(frame)
  const scores: number[] = []
  const jobs: BulkJob[] = []
  for (const [index, text] of texts.entries()) {
    const ids = await encoded(engine, question + text + closing, options.signal, engine.context)
    if (ids.length > engine.context) throw await tooLong(engine, frame, texts, index, options.signal)
    const chooseTokens = (logits: unknown) => {
      if (!(logits instanceof Float32Array)) throw new ForetokenError('internal', 'a reranker was given a shortlist')
      scores[index] = 1 / (1 + Math.exp(at(logits, no) - at(logits, yes)))
      return undefined
    }
    jobs.push({ ids, chooseTokens })
  }
  const { tenant = '', signal, onProgress } = options
  // The first leaves the K and V of the question in the prefix cache, where the others find them.
  await runBulk(scheduler, jobs, { tenant, signal, window: 2 * passTokens, ahead: 1, onProgress })
  return { scores, tokens: jobs.map(({ ids }) => ids.length) }
}

/** Returns the ids of the two answers. Throws `unsupported` for a model that is not a reranker. */
function answersOf({ archive, tokenizer }: BulkEngine, force: boolean): { yes: number; no: number } {
  const { name, embedding } = archive
  if (!force && !/rerank/i.test(name) && !embedding?.ranks)
    throw new ForetokenError(
      'unsupported',
      `${name} is not a reranker by its name and file; use one, such as qwen3-reranker-0.6b; a program may rank with any model by the option force of Engine.rerank`,
    )
  const [yes, no] = [tokenizer.idOf('yes'), tokenizer.idOf('no')]
  const unknown = ['<|im_start|>', '<|im_end|>'].find((token) => tokenizer.idOf(token) === undefined)
  if (yes !== undefined && no !== undefined && unknown === undefined) return { yes, no }
  throw new ForetokenError(
    'unsupported',
    `${name} has no token ${unknown ?? (yes === undefined ? 'yes' : 'no')}: only rerankers are run that answer yes or no, as Qwen3-Reranker does`,
  )
}

/** What stands before the documents of a call: the question up to its query, and the query. */
interface Frame {
  readonly before: string
  readonly query: string
}

function questionOf({ before, query }: Frame): string {
  return `${before}${query}\n<Document>: `
}

/** Returns the ids of a marked text; more than `most` if there are more, but perhaps not all. */
async function encoded(
  { tokenizer }: BulkEngine,
  marked: string,
  signal: AbortSignal | undefined,
  most?: number,
): Promise<readonly number[]> {
  const steps = tokenizer.encodeMarked(marked, { bos: true, ...(most !== undefined && { most }) })
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
    await nextTurn(signal)
  }
}

/** Returns the refusal of a document that does not fit: it names what is too long, with its tokens. */
async function tooLong(
  engine: BulkEngine,
  frame: Frame,
  texts: readonly string[],
  index: number,
  signal: AbortSignal | undefined,
) {
  const { context } = engine
  const count = async (query: string, text: string) =>
    (await encoded(engine, questionOf({ ...frame, query }) + text + closing, signal)).length
  const around = await count('', '')
  const asked = await count(frame.query, '')
  const [argument, who, has, room] =
    around >= context
      ? ['instruction', 'the instruction, with what the model puts around it,', around, context - 1]
      : asked >= context
        ? ['query', 'the query', asked - around, context - around - 1]
        : ['documents', `document ${index}`, (await count(frame.query, at(texts, index))) - asked, context - asked]
  return new ForetokenError(
    'context_exceeded',
    `${who} has ${has} tokens; the context of ${context} leaves ${room} for it; shorten it, or load with a larger context`,
    { argument },
  )
}
