/** Made-up notes and what to ask about them, the same for a seed. */
import { defined } from '../src/base/at.ts'
import { createRandom } from '../src/decode/random.ts'

const words = {
  place: ['mill', 'harbour', 'library', 'bridge', 'market', 'station', 'garden', 'tower', 'school', 'forge'],
  person: ['Anna', 'Bela', 'Carl', 'Dora', 'Emil', 'Frida', 'Georg', 'Hanna', 'Ivar', 'Jonas'],
  things: ['keys', 'lanterns', 'letters', 'apples', 'maps', 'ropes', 'books', 'bells', 'boats', 'coins'],
} as const

/** Draws words, and sentences of them. */
export function noteWriter(seed: number) {
  const random = createRandom(seed)
  const pick = (kind: keyof typeof words) => defined(words[kind][Math.floor(random() * words[kind].length)])
  const sentence = () => {
    const number = 2 + Math.floor(random() * 90)
    const [who, what, where, other] = [pick('person'), pick('things'), pick('place'), pick('person')]
    return `${who} left ${number} ${what} at the ${where}, and ${other} took them home.`
  }
  return { pick, sentence }
}
