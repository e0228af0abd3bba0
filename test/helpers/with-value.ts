/** Changes one value of a document, to make it invalid. */

/** Returns a copy in which the value at `path` is replaced. */
export function withValue(of: unknown, [key, ...rest]: readonly string[], value: unknown): unknown {
  if (key === undefined) return value
  const copy = structuredClone(of) as Record<string, unknown>
  copy[key] = withValue(copy[key], rest, value)
  return copy
}
