/**
 * Seals the lines of a relayed answer as `MAC SPACE TEXT`, version 1.
 *
 * `MAC` is the first 16 bytes, in hex, of HMAC-SHA-256 over the line's number (from 0, in decimal),
 * a line feed and the text. Its key is HMAC-SHA-256 of `foretoken relay 1`, a line feed and the
 * request's nonce, with the key that both ends share. So a line from another answer, a missing, a
 * repeated and a changed line are all found before their token is shown.
 */

import { textOf, withArguments } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { toHex } from '../base/hash.ts'
import { hmacKey } from './signature.ts'

const macBytes = 16
const encoder = new TextEncoder()

/** One end of an answer's lines, which it handles in order. */
export class LineSeal {
  readonly #key: CryptoKey
  #count = 0

  private constructor(key: CryptoKey) {
    this.#key = key
  }

  static of(key: Uint8Array, nonce: string): Promise<LineSeal> {
    return withArguments('LineSeal.of', async () => {
      const name = encoder.encode(`foretoken relay 1\n${textOf('nonce', nonce)}`)
      const derived = await crypto.subtle.sign('HMAC', await hmacKey(key), name)
      return new LineSeal(await hmacKey(new Uint8Array(derived)))
    })
  }

  /** Returns the next line to send. */
  async seal(text: string): Promise<string> {
    return `${await this.#mac(text)} ${text}`
  }

  /**
   * Returns the text of the next line that arrived. Rejects with `remote` if it is not the line
   * that was sent.
   */
  async open(line: string): Promise<string> {
    const text = line.slice(2 * macBytes + 1)
    const number = this.#count
    const mac = await this.#mac(text)
    if (equal(line.slice(0, 2 * macBytes + 1), `${mac} `)) return text
    throw new ForetokenError(
      'remote',
      `line ${number} of the companion's answer has a wrong MAC: it was changed on the way, or the companion has another version`,
    )
  }

  async #mac(text: string): Promise<string> {
    const bytes = await crypto.subtle.sign('HMAC', this.#key, encoder.encode(`${this.#count++}\n${text}`))
    return toHex(new Uint8Array(bytes, 0, macBytes))
  }
}

/** Compares in a time that does not depend on where the texts differ. */
function equal(a: string, b: string): boolean {
  let difference = a.length ^ b.length
  for (let at = 0; at < b.length; at++) difference |= (a.charCodeAt(at) || 0) ^ b.charCodeAt(at)
  return difference === 0
}
