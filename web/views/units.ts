/** Formats numbers for display. */

export function megabytes(bytes: number): string {
  const value = bytes / 1e6
  return `${value >= 10 ? Math.round(value) : value.toFixed(1)} MB`
}

export function milliseconds(ms: number): string {
  return ms >= 10_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms).toLocaleString('en')} ms`
}
