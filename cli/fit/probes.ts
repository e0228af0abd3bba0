/** Short tasks that show which layers matter: continuing a text, and recalling a number from it. */
import type { Engine } from '../../node/index.ts'
import { createRandom } from '../../src/decode/random.ts'
import type { Probe } from '../../src/evaluate/sensitivity.ts'
import { type DocumentSets, documentIds } from './documents.ts'

export interface Probes {
  readonly text: readonly Probe[]
  readonly recall: readonly Probe[]
}

const following = 32
const things = 'kettle ladder violin hammer saddle anchor compass barrel'.split(' ')

/**
 * Returns `count` probes of each kind, with prompts of `length` tokens, from held-out documents.
 */
export async function probesOf(
  engine: Engine,
  sets: DocumentSets['heldOut'],
  { count, length, seed }: { count: number; length: number; seed: number },
): Promise<Probes> {
  const documents = documentIds(engine, sets, { seed, most: 2 * length })
  const next = createRandom(seed)
  const text: Probe[] = []
  const recall: Probe[] = []
  while (text.length < count || recall.length < count) {
    const ids = (await documents.next()).value as number[]
    if (ids.length < length + following) continue
    if (text.length < count)
      text.push({ prompt: ids.slice(0, length), continuations: [ids.slice(length, length + following)] })
    else recall.push(recallOf(engine, ids, length, next))
  }
  return { text, recall }
}

function recallOf(engine: Engine, filler: readonly number[], length: number, next: () => number): Probe {
  const numbers = things.map(() => String(1000 + Math.floor(next() * 9000)))
  const asked = Math.floor(next() * things.length)
  const facts = things.map((thing, i) => `The ${thing} is item ${numbers[i]}.`).join(' ')
  const front = engine.tokenize(`${facts}\n\n`)
  const question = engine.tokenize(`\n\nThe ${things[asked]} is item `)
  const room = length - front.length - question.length
  return {
    prompt: [...front, ...filler.slice(0, Math.max(0, room)), ...question],
    continuations: [engine.tokenize(numbers[asked]!)],
  }
}
