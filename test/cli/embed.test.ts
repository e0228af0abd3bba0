/** `foretoken embed`: what it reads, what it prints, and what it refuses. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { embedGroup } from '../../cli/embed/run.ts'
import { inGroups, textsOfFile, textsOfJsonl } from '../../cli/embed/texts.ts'
import { type Engine, ForetokenError } from '../../node/index.ts'
import { readGolden, vectors } from '../golden/golden.ts'
import { startCli } from '../helpers/cli-process.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foretoken-embed-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function lines(content: string | Uint8Array, json: boolean): Promise<unknown[]> {
  const path = join(folder, 'texts')
  await writeFile(path, content)
  const found: unknown[] = []
  for await (const line of textsOfFile(path, json))
    found.push('error' in line ? { line: line.line, error: line.error.message } : line)
  return found
}

describe('texts of a file', () => {
  test('are its lines, without blank ones', async () => {
    expect(await lines('one\r\n\n  \n{"two"}\nthree', false)).toEqual([
      { line: 1, text: 'one' },
      { line: 4, text: '{"two"}' },
      { line: 5, text: 'three' },
    ])
  })

  test('are JSON strings and objects, and each bad line is named', async () => {
    expect(await lines('"a\\nb"\n{"text":"c","id":7,"x":1}\n[1]\n{"text":1}\n{"text":"d","id":{}}\n{', true)).toEqual([
      { line: 1, text: 'a\nb' },
      { line: 2, text: 'c', id: 7 },
      { line: 3, error: expect.stringMatching(/line 3 is neither/) },
      { line: 4, error: expect.stringMatching(/line 4 is neither/) },
      { line: 5, error: expect.stringMatching(/id is neither a text nor a number/) },
      { line: 6, error: 'line 6 is not JSON' },
    ])
  })

  test('of operands are lines of JSON too', async () => {
    const found: unknown[] = []
    for await (const line of textsOfJsonl(['{"text":"a"}', '"b"\n\n{"text":"c","id":1}', 'd'])) found.push(line)
    expect(found).toEqual([
      { line: 1, text: 'a' },
      { line: 2, text: 'b' },
      { line: 4, text: 'c', id: 1 },
      { line: 5, error: expect.objectContaining({ message: 'line 5 is not JSON' }) },
    ])
  })

  test('have no half of a surrogate pair', async () => {
    expect(await lines('"\\ud800"\n{"text":"a\\udc00"}\n"\\ud83d\\ude00"', true)).toEqual([
      { line: 1, error: expect.stringMatching(/line 1 has half of a surrogate pair/) },
      { line: 2, error: expect.stringMatching(/line 2 has half of a surrogate pair/) },
      { line: 3, text: '\u{1f600}' },
    ])
  })

  test('must be UTF-8', async () => {
    expect(await lines(new Uint8Array([0x61, 0xff, 10, 0x62]), false)).toEqual([
      { line: 1, error: expect.stringMatching(/line 1 is not UTF-8/) },
      { line: 2, text: 'b' },
    ])
  })

  test('are gathered up to a number and a length', async () => {
    async function* source() {
      for (let line = 1; line <= 7; line++) yield { line, text: 'x'.repeat(line) }
    }
    const sizes: number[] = []
    for await (const group of inGroups(source(), 3, 9)) sizes.push(group.length)
    expect(sizes).toEqual([3, 2, 2])
  })
})

test('a text that is refused fails alone', async () => {
  const engine: Pick<Engine, 'embed'> = {
    async embed(texts) {
      if ((texts as string[]).includes('long')) throw new ForetokenError('context_exceeded', 'too long')
      return { vectors: (texts as string[]).map((text) => Float32Array.of(text.length)), tokens: [1, 1, 1, 1, 1] }
    },
  }
  const counts = { embedded: 0, errors: 0, tokens: 0 }
  const texts = ['a', 'bb', 'long', 'ccc', 'dddd'].map((text, index) => ({ line: index + 1, text }))
  const printed = (await embedGroup(engine, texts, {}, counts)).map((line) => JSON.parse(line))
  expect(printed.map(({ embedding, error }) => embedding?.[0] ?? error.code)).toEqual([1, 2, 'context_exceeded', 3, 4])
  expect(counts).toEqual({ embedded: 4, errors: 1, tokens: 4 })
  const broken = { embed: () => Promise.reject(new ForetokenError('worker_lost', 'gone')) }
  await expect(embedGroup(broken, texts, {}, counts)).rejects.toThrow('gone')
})

describe('the command', () => {
  const model = fileURLToPath(new URL('tiny-embedding-qwen3', vectors))
  const { cases } = readGolden<{
    cases: { name: string; texts: string[]; vectors: number[][] }[]
  }>('tiny-embedding-qwen3/golden.json', 'embeddings')

  test('prints the vectors of a file, a line for each', async () => {
    const { texts, vectors: wanted } = cases.find(({ name }) => name === 'query')!
    const path = join(folder, 'texts.jsonl')
    await writeFile(path, texts.map((text, id) => JSON.stringify({ text, id })).join('\n'))
    const { got, ended } = startCli(['embed', '-m', model, '--file', path, '--kind', 'query', '--threads', '1'])
    expect(await ended).toBe(0)
    const rows = got.out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(rows.map(({ line, id }) => [line, id])).toEqual(texts.map((_, id) => [id + 1, id]))
    rows.forEach(({ embedding }, row) => {
      embedding.forEach((value: number, i: number) => {
        expect(value).toBeCloseTo(wanted[row]![i]!, 3)
      })
    })
    expect(got.err).toMatch(/5 texts · \d+ tokens/)
  })

  test.each([
    [[], 2, /embed needs an embedding model/],
    [['-m', model, 'text', '--file', 'x'], 2, /either a text or --file/],
    [
      ['-m', model, '--kind', 'task', 'text'],
      1,
      /no prompt named "task"; it has query, document; give .*--text-prefix/,
    ],
    [['-m', model, '--dimensions', '65', 'text'], 1, /--dimensions is 65; it must be a whole number from 1 to 64/],
  ] as const)('refuses %j', async (args, code, message) => {
    const { got, ended } = startCli(['embed', ...args])
    expect([await ended, got.out]).toEqual([code, ''])
    expect(got.err).toMatch(message)
  })

  test('reads the text of a line of JSON, not its letters', async () => {
    const embeddings = await Promise.all(
      [['--jsonl', '{"text":"hi"}'], ['hi']].map(async (args) => {
        const { got, ended } = startCli(['embed', '-m', model, '--threads', '1', ...args])
        expect(await ended).toBe(0)
        return JSON.parse(got.out).embedding
      }),
    )
    expect(embeddings[0]).toEqual(embeddings[1])
  })

  test('makes no vector of an empty text', async () => {
    const { got, ended } = startCli(['embed', '-m', model, '--threads', '1', ''])
    expect(await ended).toBe(1)
    expect(JSON.parse(got.out)).toEqual({
      line: 1,
      error: { code: 'empty_prompt', message: expect.stringMatching(/has no tokens; give it at least one character/) },
    })
  })
})
