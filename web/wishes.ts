/**
 * What an answer with a shape or with tools needs in a request; loaded by the first such question.
 * What only such questions need is imported by its file: from `src/index.ts` the build would put it
 * with what every visit loads.
 */
import type { AnswerReader, Engine, GenerateOptions, PromptOptions } from '../src/index.ts'
import { effortValues, planAnswer } from '../src/tokens/answer-plan.ts'
import type { Question } from './protocol.ts'

export interface Wishes {
  /** Options that the prompt depends on. */
  readonly prompt: PromptOptions
  /** Options of the answer. */
  readonly options: GenerateOptions
  /** Returns what reads the answer from its beginning. */
  newReader(): AnswerReader
}

/** JSON is longer than the same answer in words. */
const answering = { maxTokens: 512 }
/**
 * What a call says is often in the question, so that a penalty on its tokens would change it. One on
 * the tokens of the answer ends loops.
 */
const calling = { repetitionPenalty: 1, frequencyPenalty: 0.2 }

/** Returns what a question adds to its request. Throws what `planAnswer` throws. */
export function wishesOf(engine: Engine, { messages, schema, tools, choice }: Omit<Question, 'mode'>): Wishes {
  const guide = schema === undefined ? undefined : ({ kind: 'json_schema', schema } as const)
  // Thoughts would take most of the tokens of such an answer; not every template can do without.
  const templateValues = effortValues(engine.archive.tokenizer, 'none')
  const plan = planAnswer(engine, { prompt: messages, tools, toolChoice: choice, guide, templateValues })
  const { tools: _, toolFormat, guide: planned, ...options } = plan.options
  // JSON without white space is shorter, and small models get lost in white space.
  const shape = guide && !plan.hasParts ? { ...guide, compact: true } : planned
  return {
    // The tools stay in the prompt of an answer that may not call them.
    prompt: { templateValues, ...(tools && { tools }), ...(toolFormat && { toolFormat }) },
    options: { ...(guide && answering), ...(tools && calling), ...options, ...(shape && { guide: shape }) },
    newReader: () => plan.reader(),
  }
}

/** Compiles a schema. Rejects with `bad_argument` or `unsupported` and the path to its fault. */
export async function checkSchema(engine: Engine, schema: string, signal: AbortSignal): Promise<void> {
  await engine.prepare('a', { raw: true, guide: { kind: 'json_schema', schema, compact: true }, signal })
}
