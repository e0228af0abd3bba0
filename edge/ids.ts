/** Returns a new unique id, such as `chatcmpl-0f3a...`. */
export function newId(kind: string, separator = '-'): string {
  return `${kind}${separator}${crypto.randomUUID().replaceAll('-', '')}`
}
