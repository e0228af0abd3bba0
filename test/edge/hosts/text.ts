/** A long prompt on whatever runs this file, read in its text worker; the only line says what came of it. */
import type { SpawnText } from '../../../src/index.ts'
import { tinyEngine } from '../../helpers/tiny-server.ts'

const { spawnText } =
  'Deno' in globalThis ? await import('../../../edge/deno.ts') : await import('../../../edge/bun.ts')
const sent: string[] = []
let spawned = 0
const watched: SpawnText = ({ message, ended }) => {
  spawned++
  return spawnText({
    message: (came) => {
      sent.push(came.type)
      message(came)
    },
    ended,
  })
}
const engine = await tinyEngine({ spawnText: watched })
const text = 'words and '.repeat(2000)
let turns = 0
const ticking = setInterval(() => turns++, 1)
const code = (error: unknown) => (error as { code?: string }).code
// It is longer than the context, so it is refused, but it is encoded in the worker.
const long = await engine.prepare(text).then(() => 'taken', code)
const before = engine.prepare(text).then(() => 'taken', code)
await engine.close()
const closed = await before
clearInterval(ticking)
console.log(JSON.stringify({ spawned, sent, long, closed, turned: turns > 0 }))
