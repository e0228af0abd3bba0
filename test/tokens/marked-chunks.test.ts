/** Marked parts of prompts are found in the prompt's ids, which they never change. */
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { folderFiles } from '../../node/model-files.ts'
import { loadWasm } from '../../node/wasm.ts'
import { type ChatMessage, Engine, type PreparedPrompt, type TextPart } from '../../src/index.ts'
import { chunkSteps } from '../../src/tokens/marked-chunks.ts'
import { paragraphsOf } from '../../src/tokens/paragraphs.ts'
import { toEnd } from '../../src/tokens/tokenizer.ts'
import { nodeText } from '../../workers/node.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('auto', 1)
const texts = [
  'The mill at the river was built in 1846 and burnt down twice before it was left to the owls.',
  '  A harbour needs a wall, a light and a pilot; this one had two of them.\n\n',
  'Bridges are named after those who paid, seldom after those who drowned: « le pont des fous », 橋.',
]
const question = 'Which of them was built first?'

const part = (text: string, chunk?: boolean): TextPart => ({ type: 'text', text, ...(chunk && { chunk }) })
const asked = (marks: boolean, order: readonly number[]): ChatMessage[] => [
  { role: 'user', content: [...order.map((index) => part(texts[index]!, marks)), part(question)] },
]

async function load(name: string): Promise<Engine> {
  if (name === 'bytes') return Engine.load(tinyFiles({ context: 1024 }), { wasm })
  const files = await folderFiles(fileURLToPath(new URL(`../vectors/${name}`, import.meta.url)))
  try {
    return await Engine.load(files, { wasm })
  } finally {
    await files.close()
  }
}

describe.each(['bytes', 'tiny-qwen2', 'tiny-llama3', 'tiny-gemma2', 'tiny-mistral', 'tiny-smollm3'])(
  'with %s',
  async (name) => {
    const engine = await load(name)
    afterAll(() => engine.close())

    test('ids are the same with and without marks', async () => {
      for (const order of [
        [0, 1, 2],
        [2, 0],
      ]) {
        const plain = await engine.prepare(asked(false, order))
        const marked = await engine.prepare(asked(true, order))
        expect([...marked]).toEqual([...plain])
        expect(plain.chunks).toBeUndefined()
        expect(engine.promptIds(asked(true, order))).toEqual([...plain])
      }
    })

    test('each chunk is found where it stands, under the same ids in any order', async () => {
      const chunksOf = async (order: readonly number[]) => {
        const prompt: PreparedPrompt = await engine.prepare(asked(true, order))
        const chunks = prompt.chunks!
        expect(chunks.length).toBe(order.length)
        let end = 0
        for (const { ids, skip, from, to } of chunks) {
          expect(from).toBeGreaterThanOrEqual(end)
          expect([...prompt].slice(from, to)).toEqual(ids.slice(skip, skip + to - from))
          // All of the chunk but at most a few tokens at its edges.
          expect(to - from).toBeGreaterThanOrEqual(ids.length - 8)
          end = to
        }
        return new Map(order.map((index, at) => [index, chunks[at]!.ids]))
      }
      const [one, two] = [await chunksOf([0, 1, 2]), await chunksOf([2, 0, 1])]
      for (const index of [0, 1, 2]) expect(two.get(index)).toEqual(one.get(index))
    })
  },
)

describe('marks', async () => {
  const engine = await load('bytes')
  afterAll(() => engine.close())

  test('of equal texts are each found, in order', async () => {
    const { chunks } = await engine.prepare(asked(true, [0, 0]))
    expect(chunks!.map(({ ids }) => ids)).toEqual([chunks![0]!.ids, chunks![0]!.ids])
    expect(chunks![1]!.from).toBeGreaterThanOrEqual(chunks![0]!.to)
  })

  test('of short texts, of texts and of false find nothing', async () => {
    const short = [{ role: 'user' as const, content: [part('a few words', true), part(question)] }]
    expect((await engine.prepare(short)).chunks).toEqual([])
    expect((await engine.prepare(question)).chunks).toBeUndefined()
    const off = [{ role: 'user' as const, content: [{ type: 'text' as const, text: texts[0]!, chunk: false }] }]
    expect((await engine.prepare(off)).chunks).toBeUndefined()
  })

  test('must be true or false', () => {
    const wrong = [{ role: 'user', content: [{ type: 'text', text: 'x', chunk: 'yes' }] }] as never
    expect(() => engine.promptIds(wrong)).toThrow(/chunk .* true or false/)
  })

  test('are the same from a text worker', async () => {
    const spawnText = nodeText(new URL('../../workers/text.ts', import.meta.url))
    const other = await Engine.load(tinyFiles({ context: 16_384 }), { wasm, spawnText, context: 16_384 })
    const alone = await Engine.load(tinyFiles({ context: 16_384 }), { wasm, context: 16_384 })
    // Longer than what is read at once.
    const long = [
      { role: 'user' as const, content: [part('x'.repeat(9000)), ...(asked(true, [1, 2])[0]!.content as TextPart[])] },
    ]
    const [one, two] = [await other.prepare(long), await alone.prepare(long)]
    expect(one.chunks).toEqual(two.chunks)
    expect(one.chunks!.length).toBe(2)
    await other.close()
    await alone.close()
  })
})

test('the work of looking grows with the length of a prompt, also for parts that are nowhere', () => {
  /** Returns how often ids are read while nothing of the text is found in them. */
  const looksAt = (length: number, id: number, text: string) => {
    let looks = 0
    const ids = new Proxy(new Array<number>(length).fill(id), {
      get(target, key) {
        if (typeof key === 'string' && /^\d/.test(key)) looks++
        return Reflect.get(target, key)
      },
    })
    const tokenizer = {
      *encodeSteps(part: string) {
        yield
        return [...Buffer.from(part)]
      },
    }
    expect(toEnd(chunkSteps(tokenizer as never, text, ids, 'auto'))).toEqual([])
    return looks
  }
  const looked = (paragraphs: number) => {
    const text = Array.from({ length: paragraphs }, (_, i) => `Paragraph ${i} of a text.`).join('\n\n')
    return looksAt(30 * paragraphs, 7, text)
  }
  // Nearly the same everywhere: each place is compared far.
  const repeated = (length: number) => looksAt(length, 97, `${'a'.repeat(length / 2)}bcdefgh\n\n`.repeat(4))
  expect(repeated(4000) / repeated(400)).toBeLessThan(12)
  const [short, long] = [looked(100), looked(1000)]
  expect(short).toBeGreaterThan(1000)
  expect(long / short).toBeLessThan(12)
})

test.each<[string, string[]]>([
  ['one text\nof two lines', ['one text\nof two lines']],
  [
    'first of them\n\nsecond of them\n \t\n\n  third of them  \n\n',
    ['first of them', 'second of them', 'third of them'],
  ],
  ['windows text\r\n\r\nhas other ends', ['windows text', 'has other ends']],
  ['short\n\n\n\nalso', []],
  ['', []],
])('paragraphs of %j', (text, paragraphs) => {
  expect([...paragraphsOf(text)]).toEqual(paragraphs)
})
