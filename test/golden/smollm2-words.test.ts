/** Ids of digits, signs and scripts in the default model's vocabulary, as Hugging Face's `tokenizers` makes them (test/vectors/words.py). */
import { expect, test } from 'vitest'
import { fileSource, findModel, openModel } from '../../node/index.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'
import { readGolden } from './golden.ts'

const { cases } = readGolden<{ cases: readonly { text: string; ids: readonly number[] }[] }>(
  'smollm2-words.json',
  'smollm2-words',
)
const model = process.env.FORETOKEN_TEST_MODEL ?? (await findModel('smollm2-135m'))?.files[0]?.path

test.runIf(model)('smollm2-135m (where it has been pulled) reads them as the same ids', async () => {
  const source = await fileSource(model!)
  try {
    const { tokenizer } = await openModel({ name: 'smollm2', files: ['model.gguf'], open: async () => source })
    const { encode } = createTokenizer(tokenizer)
    for (const { text, ids } of cases) expect({ text, ids: encode(text) }).toEqual({ text, ids })
  } finally {
    await source.close()
  }
})
