/**
 * `npm run check:schema-suite`: asks the guides about the JSON-Schema-Test-Suite, and writes what they
 * say to docs/json-schema.md. Fails if an answer is accepted that the suite calls invalid.
 */
import { writeFileSync } from 'node:fs'
import { suiteDocument, suiteVerdicts } from '../test/helpers/schema-suite.ts'

const verdicts = suiteVerdicts()
writeFileSync(new URL('../docs/json-schema.md', import.meta.url), suiteDocument(verdicts))
const faults = verdicts.filter(({ wrong }) => wrong.length > 0)
for (const { file, about, wrong } of faults) console.log(`${file}: ${about}: ${wrong.join(' ')}`)
if (process.argv.includes('--missed'))
  for (const { file, about, missed } of verdicts)
    if (missed.length > 0) console.log(`missed: ${file}: ${about}: ${missed.join(' ')}`)
console.log(`${verdicts.length} schemas, ${faults.length} of them with invalid instances that are accepted`)
if (faults.length > 0) process.exitCode = 1
