/** A large schema on whatever runs this file, compiled in its guide worker; the only line says what came of it. */
import { readFile } from 'node:fs/promises'
import { openGuides, type SpawnGuides } from '../../../src/index.ts'
import { instantiate } from '../../../wasm/dist/guide/guide.js'
import { tinyEngine } from '../../helpers/tiny-server.ts'

const { spawnGuides } =
  'Deno' in globalThis ? await import('../../../edge/deno.ts') : await import('../../../edge/bun.ts')
const wasm = new URL('../../../wasm/dist/guide/', import.meta.url)
const module = await WebAssembly.compile(await readFile(new URL('guide.wasm', wasm)))
const came: string[] = []
const watched: SpawnGuides = ({ message, ended }) =>
  spawnGuides({
    message: (answer) => {
      came.push(answer.type)
      message(answer)
    },
    ended,
  })
const glue = new URL('guide.js', wasm).href
const guides = async () => openGuides(() => instantiate(module), { spawn: watched, module, glue, deadlineMs: 60_000 })
const engine = await tinyEngine({ guides }, 2048)

const names = Array.from({ length: 300 }, (_, index) => `field ${index}`)
const properties = Object.fromEntries(names.map((name) => [name, { type: 'string', maxLength: 3 }]))
const object = { type: 'object', properties, required: names.slice(0, 3), additionalProperties: false }
const guide = { kind: 'json_schema', compact: true, schema: object } as const
let text = ''
for await (const event of engine.generate('How is it?', { guide, temperature: 1, seed: 3, maxTokens: 16 }))
  if (event.type === 'token') text += event.text
const wrong = { kind: 'regex', regex: `${'(a|b)'.repeat(40)}(` } as const
const refused = await engine
  .generate('How is it?', { guide: wrong })
  .next()
  .then(
    () => 'taken',
    (error: unknown) => (error as { code?: string }).code,
  )
await engine.close()
console.log(JSON.stringify({ came, begins: text.slice(0, 12), refused }))
