/** Makes up a byte-level BPE of any size: words of syllables, so that text is cut as a real one cuts it. */
import { defined } from '../../src/base/at.ts'
import type { Metadata } from '../../test/helpers/gguf-writer.ts'
import { random } from '../../test/helpers/random.ts'
import type { LargeModel } from './shapes.ts'

const consonants = ['b', 'd', 'f', 'g', 'k', 'l', 'm', 'n', 'r', 's', 't', 'v']
const vowels = ['a', 'e', 'i', 'o', 'u']
/** GPT-2's letter for a space. */
const space = '\u0120'
const ends = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']

/** Returns the tokenizer's part of a GGUF's metadata. */
export function madeUpTokenizer(model: LargeModel, seed: number): Record<string, Metadata> {
  const { config, pre, special, padding } = model
  const { tokens, merges } = words(config.vocab - special - padding, model.merges, seed)
  const normal = tokens.length
  for (let i = 0; i < special; i++) tokens.push(ends[i] ?? `<|reserved_${i}|>`)
  for (let i = 0; i < padding; i++) tokens.push(`[PAD${tokens.length}]`)
  const types = tokens.map((_, id) => (id < normal ? 1 : id < normal + special ? 3 : 5))
  return {
    'tokenizer.ggml.model': { text: 'gpt2' },
    'tokenizer.ggml.pre': { text: pre },
    'tokenizer.ggml.tokens': { texts: tokens },
    'tokenizer.ggml.token_type': { ints: types },
    'tokenizer.ggml.merges': { texts: merges },
    'tokenizer.ggml.eos_token_id': { u32: normal + 2 },
    'tokenizer.ggml.bos_token_id': { u32: normal },
    'tokenizer.ggml.add_bos_token': { flag: false },
    'tokenizer.chat_template': {
      text:
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n'}}" +
        "{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\\n'}}{% endif %}",
    },
  }
}

/** Returns so many tokens, the bytes first, and at most so many merges that make them. */
function words(count: number, most: number, seed: number): { tokens: string[]; merges: string[] } {
  const tokens = byteLetters()
  const known = new Set(tokens)
  const merges: string[] = []
  /** The second and third ways to make a token; a tokenizer in use has them, too. */
  const others: string[] = []
  const add = (...ways: readonly (readonly [string, string])[]) => {
    const [first] = ways
    const text = defined(first).join('')
    if (known.has(text) || tokens.length === count) return
    known.add(text)
    tokens.push(text)
    for (const [index, way] of ways.entries()) (index === 0 ? merges : others).push(way.join(' '))
  }
  const syllables = consonants.flatMap((consonant) => vowels.map((vowel) => consonant + vowel))
  for (const syllable of syllables) add([defined(syllable[0]), defined(syllable[1])])
  const first = [...syllables, ...syllables.map((syllable) => space + syllable)]
  for (const syllable of syllables) add([space, syllable])
  const pairs = first.flatMap((a) => syllables.map((b) => [a, b] as const))
  for (const pair of pairs) add(pair)
  const rng = random(seed)
  while (tokens.length < count) {
    const [a, b] = defined(pairs[rng.below(pairs.length)])
    const c = defined(syllables[rng.below(syllables.length)])
    const d = rng.unit() < 0.3 ? defined(syllables[rng.below(syllables.length)]) : ''
    if (d === '') add([a + b, c], [a, b + c])
    else add([a + b, c + d])
  }
  for (const way of others) if (merges.length < most) merges.push(way)
  return { tokens, merges: merges.slice(0, most) }
}

/** Returns GPT-2's letters for bytes, in byte order. */
function byteLetters(): string[] {
  const letters: string[] = []
  for (let byte = 0, next = 0x100; byte < 256; byte++) {
    const prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
    letters.push(String.fromCodePoint(prints ? byte : next++))
  }
  return letters
}
