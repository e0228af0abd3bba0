/** The stored corpus of hostile files (test/corpus/make.ts): each is refused with the code in its name, at once. */
import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { readGguf } from '../../src/model/gguf.ts'
import { readSafetensors } from '../../src/model/safetensors.ts'
import { memorySource } from '../../src/model/source.ts'

const folder = new URL('../corpus/', import.meta.url)
const files = readdirSync(folder).filter((file) => file.endsWith('.bin'))

test('the corpus exists', () => expect(files.length).toBeGreaterThan(20))

test.each(files)('%s', { timeout: 2_000 }, async (file) => {
  const source = memorySource(file, readFileSync(new URL(file, folder)))
  const code = file.slice(0, file.indexOf('-'))
  const read = file.includes('.gguf.') ? readGguf(source) : readSafetensors(source)
  await expect(read).rejects.toMatchObject({ name: 'ForetokenError', code, message: expect.stringContaining(file) })
})
