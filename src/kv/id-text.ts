/** Writes tokens as text, the key of a map. */

/** Tokens that are made text by one call, which may have only so many arguments. */
const atOnce = 1024

/** Encodes tokens as a string, two UTF-16 units each. */
export function textOfIds(ids: readonly number[]): string {
  const parts: string[] = []
  for (let from = 0; from < ids.length; from += atOnce) {
    const units: number[] = []
    for (const id of ids.slice(from, from + atOnce)) units.push(id & 0xffff, id >>> 16)
    parts.push(String.fromCharCode(...units))
  }
  return parts.join('')
}
