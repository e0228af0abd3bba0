/** Shows the arguments of a call. */

/** Returns arguments for display: in one line, if they are JSON. */
export function shownArguments(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text))
  } catch {
    return text
  }
}
