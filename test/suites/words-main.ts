/**
 * Compares random texts split into words by Hugging Face's `tokenizers` and by us:
 *
 *     python test/vectors/words.py --random 5000 --seed 1 > words.json && node test/suites/words-main.ts words.json
 */
import { readFileSync } from 'node:fs'
import { type WordCases, wordsThatDiffer } from './words.ts'

const cases: WordCases = JSON.parse(readFileSync(process.argv[2] ?? 0, 'utf8'))
const differing = wordsThatDiffer(cases)
for (const { name, text, words, ours } of differing.slice(0, 20))
  console.log(
    `${name}: ${JSON.stringify(text)}\n  tokenizers ${JSON.stringify(words)}\n  ours       ${JSON.stringify(ours)}`,
  )
console.log(`${differing.length} of ${cases.cases.length} texts differ`)
process.exitCode = differing.length > 0 ? 1 : 0
