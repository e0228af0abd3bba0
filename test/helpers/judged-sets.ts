/** Writes small sets of texts in the forms of those that `eval` judges on. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

/** Number of rows of each set but wikitext's. */
export const judgedRows = 40

/** Returns the rows of a set by its file in the data folder. */
export function judgedSets(): ReadonlyMap<string, readonly object[]> {
  const rows = (make: (i: number) => object) => Array.from({ length: judgedRows }, (_, i) => make(i))
  const asked = rows((i) => ({ query: `Question: ${line(i)}`, choices: [`${i} stones`, 'none'], gold: i % 2 }))
  return new Map([
    [
      'eval/boolq.jsonl.gz',
      rows((i) => ({
        query: `Passage: ${line(i)} ${line(i + 500)}\nQuestion: is mill ${i} large?`,
        choices: ['no', 'yes'],
        gold: i % 2,
      })),
    ],
    [
      'eval/HumanEval.jsonl.gz',
      rows((i) => ({
        task_id: `HumanEval/${i}`,
        prompt: `def add${i}(a):\n    """ Add ${i}. """\n`,
        entry_point: `add${i}`,
        canonical_solution: `    return a + ${i}\n`,
      })),
    ],
    ['eval/lambada_openai.jsonl.gz', rows((i) => ({ text: line(i) }))],
    ['prompts/arena_hard_v0.1.jsonl.gz', rows((i) => ({ prompt: `${line(i)} Why?` }))],
    ['prompts/mt_bench_question.jsonl', rows((i) => ({ turns: [`Name ${i} mill.`, 'And more?'] }))],
    [
      'prompts/user_oriented_instructions.jsonl',
      rows((i) => ({ instruction: `Count ${i}.`, instances: [{ input: '', output: line(i) }] })),
    ],
    ['eval/arc_easy.jsonl.gz', asked],
    ['eval/piqa.jsonl.gz', asked],
  ])
}

/** Writes all sets into a folder. */
export async function writeSets(folder: string): Promise<void> {
  for (const inside of ['eval', 'prompts']) await mkdir(join(folder, inside), { recursive: true })
  for (const [name, rows] of judgedSets()) {
    const text = rows.map((row) => JSON.stringify(row)).join('\n')
    await writeFile(join(folder, name), name.endsWith('.gz') ? gzipSync(text) : text)
  }
  const lines = Array.from({ length: 300 }, (_, i) => line(i))
  await writeFile(join(folder, 'eval/wikitext2_valid.txt.gz'), gzipSync(lines.join('\n')))
}

function line(i: number): string {
  return `The mill by the river ${i} has ${i * 31} stones.`
}
