/** The names that people know: what they stand for, and what an unknown one says. */
import { describe, expect, test } from 'vitest'
import { catalogue, catalogueKey, fits, memoryOf } from '../../node/catalogue.ts'
import { aliases, parseName } from '../../node/names.ts'
import { checkFileName } from '../../node/paths.ts'
import { nearest } from '../../src/base/nearest.ts'

describe('the catalogue', () => {
  test('has the names of the issue, each once and in the form of a name', () => {
    const names = Object.keys(catalogue)
    for (const name of [
      ...['qwen3-0.6b', 'qwen3-1.7b', 'llama3.2-1b', 'llama3.2-3b', 'gemma3-270m', 'gemma3-1b', 'smollm2-135m'],
      ...['smollm2-360m', 'smollm2-1.7b', 'smollm3', 'lfm2-350m', 'lfm2-1.2b', 'granite4-350m', 'phi4-mini'],
      ...['embeddinggemma', 'qwen3-embedding-0.6b'],
    ])
      expect(names).toContain(name)
    for (const name of names) expect(name).toMatch(/^[a-z0-9][a-z0-9.-]*$/)
  })

  test('has every alias that stands for one exact file, of the same repository', () => {
    for (const [name, { hub }] of Object.entries(aliases)) expect(catalogue[name]?.repo).toBe(hub.repo)
  })

  test.each(Object.entries(catalogue))('%s is an address of the hub with plausible facts', (name, entry) => {
    const parsed = parseName(name)
    if (parsed.kind !== 'alias') expect(parsed).toMatchObject({ kind: 'hub', name, repo: entry.repo, revision: 'main' })
    expect(checkFileName(entry.repo).split('/')).toHaveLength(2)
    expect(entry.parameters).toBeGreaterThan(1e8)
    expect(entry.parameters).toBeLessThan(4e9)
    expect(entry.context).toBeGreaterThanOrEqual(2048)
    if (entry.terms) expect(new URL(entry.terms).protocol).toBe('https:')
    expect(memoryOf(entry)).toBeGreaterThan((entry.parameters * entry.bits) / 8)
    expect([fits(entry, 1e6), fits(entry, 64e9)]).toEqual([false, memoryOf(entry) <= 2 ** 32])
  })
})

describe('a name', () => {
  test.each([
    ['Qwen3-0.6B', 'qwen3-0.6b'],
    [' qwen3:0.6b ', 'qwen3-0.6b'],
    ['llama3.2:1b', 'llama3.2-1b'],
    ['qwen3', undefined],
    ['constructor', undefined],
    ['__proto__', undefined],
  ])('%s is %s', (name, key) => {
    expect(catalogueKey(name)).toBe(key)
  })

  test.each([
    ['qwen3-0.6', /the nearest name is qwen3-0\.6b/],
    ['smolm2-135m', /the nearest name is smollm2-135m/],
    ['embedinggemma', /the nearest name is embeddinggemma/],
    ['phi4', /the nearest name is phi4-mini\./],
    ['lfm2', /the nearest names are lfm2-350m, lfm2-1\.2b\./],
    ['granite4', /the nearest name is granite4-350m/],
    ['qwen3-embed', /the nearest name is qwen3-embedding-0\.6b/],
    ['qwen3:0.6b-q4', /the nearest name is qwen3-0\.6b/],
    ['qwen', /the nearest names are qwen3-0\.6b, .*, qwen3-reranker-0\.6b\./],
    ['Gemma', /the nearest names are gemma3-270m, gemma3-1b/],
    ['llama', /the nearest names are llama3\.2-1b, llama3\.2-3b/],
    ['q', /lists the names/],
    ['qwen3.5-0.8b', /this family is not run: most of its layers are gated delta nets/],
    ['qwen3-next-80b', /gated delta nets/],
    ['nemotron', /this family is not run: its norms subtract/],
    ['zzzzzzzzzzzz', /"foretoken ls --available" lists the names/],
    ['Qwen/Qwen3-0.6B', /write hf:Qwen\/Qwen3-0\.6B/],
    ['x'.repeat(10_000), /lists the names/],
  ])('%s is unknown, and the message says what may be meant', (name, message) => {
    expect(() => parseName(name)).toThrow(message)
    try {
      parseName(name)
    } catch (error) {
      expect((error as Error).message.length).toBeLessThan(600)
    }
  })

  test('is near if few letters differ, swapped ones counted once', () => {
    expect(nearest('qwne3', ['qwen3', 'llama'])).toBe('qwen3')
    expect(nearest('abc', ['xyz'])).toBeUndefined()
  })
})
