/** Compares every case of ggml's tokenizer vectors whose vocabulary is present, id for id. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { readGguf } from '../../src/model/gguf.ts'
import { readGgufTokenizer } from '../../src/model/gguf-tokenizer.ts'
import { MetadataReader } from '../../src/model/metadata.ts'
import { memorySource } from '../../src/model/source.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'

const folder = new URL('../../../shared/data/tokenizers/', import.meta.url)

describe.each(['gpt-2', 'llama-spm'])('%s', (name) => {
  const file = new URL(`ggml-vocab-${name}.gguf`, folder)
  const missing = !existsSync(file) && 'the vectors are not at hand'

  test.skipIf(missing)('47 of 47 cases', async () => {
    const gguf = await readGguf(memorySource(name, await readFile(file)))
    const tokenizer = createTokenizer((await readGgufTokenizer(new MetadataReader(gguf.metadata, name), 1 << 20)).spec)
    const cases = (await readFile(`${file.pathname}.inp`, 'utf8')).split('\n__ggml_vocab_test__\n')
    const wanted = (await readFile(`${file.pathname}.out`, 'utf8')).split('\n')
    const results = cases.slice(0, 47).map((text, i) => ({
      text,
      got: tokenizer.encode(text).join(' '),
      want: (wanted[i] ?? '').trim(),
    }))
    expect(results).toHaveLength(47)
    for (const { text, got, want } of results) expect({ text, ids: got }).toEqual({ text, ids: want })
    for (const { text, got } of results) {
      const back = tokenizer.decode(got === '' ? [] : got.split(' ').map(Number))
      expect(name === 'llama-spm' ? back.replace(/^ /, '') : back).toBe(text.toWellFormed())
    }
  })
})
