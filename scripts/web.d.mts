export function buildPage(): Promise<{
  readonly files: Map<string, Uint8Array>
  readonly later: readonly string[]
}>
