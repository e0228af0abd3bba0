/** Code to complete, behind other files: HumanEval (arXiv 2107.03374). */

import { join } from 'node:path'
import { at } from '../../src/base/at.ts'
import { createRandom } from '../../src/decode/random.ts'
import { type Engine, ForetokenError } from '../../src/index.ts'
import { shuffled } from '../lengths.ts'
import { jsonLinesOf } from '../lines.ts'
import { fits } from '../schema.ts'
import { answered, requireEnough, requireLength, type Suite, type SuiteOptions } from './drafts.ts'

const file = 'eval/HumanEval.jsonl.gz'

export const code: Suite = {
  about: 'a function of HumanEval to complete, behind other files',
  files: [file],
  drafts,
}

interface Problem {
  readonly name: string
  readonly prompt: string
  readonly solution: string
}

async function drafts(engine: Engine, options: SuiteOptions) {
  const { length, cases, seed } = options
  const problems = shuffled(await problemsOf(options), seed)
  requireEnough('code', 'functions', problems.length, cases, `${cases} cases`)
  const asking = problems.map((problem) => ({ problem, asked: engine.tokenize(header(problem) + problem.prompt) }))
  const short = asking.filter(({ asked }) => 2 * asked.length <= length)
  if (short.length === 0) requireLength('code', length, 2 * Math.min(...asking.map(({ asked }) => asked.length)))
  requireEnough('code', `functions short enough for ${length} tokens`, short.length, cases, `${cases} cases`)
  return short.slice(0, cases).map(({ problem, asked }, index) => {
    const room = length - asked.length
    return answered(engine, [...otherFiles(engine, problems, problem, room, seed + index), ...asked], { tokens: 48 })
  })
}

/** Returns exactly `room` tokens of other files in random order, the first one cut at its front. */
function otherFiles(
  engine: Engine,
  problems: readonly Problem[],
  asked: Problem,
  room: number,
  seed: number,
): readonly number[] {
  const next = createRandom(seed)
  const left = problems.filter(({ name }) => name !== asked.name)
  let ids: number[] = []
  while (ids.length < room) {
    if (left.length === 0) requireEnough('code', 'tokens in other files', ids.length, room, 'a prompt')
    const [one] = left.splice(Math.floor(next() * left.length), 1)
    if (one) ids = [...engine.tokenize(`${header(one)}${one.prompt}${one.solution}\n\n`), ...ids]
  }
  return ids.slice(ids.length - room)
}

function header({ name }: Problem): string {
  return `# ${name}\n`
}

async function problemsOf({ folder, trainedOn }: SuiteOptions): Promise<Problem[]> {
  const problems: Problem[] = []
  for await (const { row, where } of jsonLinesOf(join(folder, file))) {
    if (!fits(row, { task_id: 'string', prompt: 'string', canonical_solution: 'string', entry_point: 'string' }))
      throw new ForetokenError('bad_argument', `${where}: not a function with its solution`)
    const { prompt, canonical_solution: solution, entry_point: name, task_id: task } = row
    const number = at(task.split('/'), -1 + task.split('/').length)
    if (!trainedOn?.(prompt + solution)) problems.push({ name: `${name}_${number}.py`, prompt, solution })
  }
  return problems
}
