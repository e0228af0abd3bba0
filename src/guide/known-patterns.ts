/**
 * Patterns with look-around that libraries write into schemas, and regexes of the same language
 * without it. Each is compared with the host's RegExp in test/guide/known-patterns.test.ts.
 */

const years = '\\d+Y(?:\\d+M)?(?:\\d+D)?|\\d+M(?:\\d+D)?|\\d+D'
const seconds = '\\d+(?:[.,]\\d+)?S'
const hours = `T(?:\\d+H(?:\\d+M)?(?:${seconds})?|\\d+M(?:${seconds})?|${seconds})`

const equals: ReadonlyMap<string, string> = new Map([
  // zod 4: z.iso.duration()
  [
    '^P(?:(\\d+W)|(?!.*W)(?=\\d|T\\d)(\\d+Y)?(\\d+M)?(\\d+D)?(T(?=\\d)(\\d+H)?(\\d+M)?(\\d+([.,]\\d+)?S)?)?)$',
    `^P(?:\\d+W|(?:${years})(?:${hours})?|${hours})$`,
  ],
  // Pydantic 2: Decimal
  ['^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$', '^[+-]?(?:\\d+\\.?\\d*|\\.\\d+)$'],
])

/** Returns a regex of the same language without look-around, where `pattern` is a known one; otherwise `pattern`. */
export function withoutLookAround(pattern: string): string {
  return equals.get(pattern) ?? pattern
}
