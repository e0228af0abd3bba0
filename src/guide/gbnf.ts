export function larkOf(text: string): string {
  return text
}
