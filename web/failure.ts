/** Extracts the reason of a failure from the formats that servers use. */

const longest = 300

/**
 * Returns the message of a failure in a JSON value; undefined if it is not a failure. OpenAI sends
 * `{error: {message}}`, others `{error: "text"}`, `{error: "kind", message}`, `{detail}` (FastAPI:
 * a text or a list of `{msg}`), `{errors: [{message}]}`, `{object: "error", message}`, `{message}`
 * or `{msg}`.
 */
export function failureIn(value: unknown): string | undefined {
  if (!isRecord(value)) return undefined
  const { error, errors, detail, object, type, choices } = value
  const message = value.message ?? value.msg
  if (error === true || object === 'error' || type === 'error') return textOf(message ?? detail ?? value)
  if (error !== undefined && error !== null && error !== false) {
    const kind = textOf(error)
    return typeof error === 'string' && typeof message === 'string' ? cut(`${kind}: ${message}`) : kind
  }
  if (choices !== undefined) return undefined
  if (Array.isArray(errors) && errors.length > 0) return textOf(errors)
  if (detail !== undefined) return textOf(detail)
  return typeof message === 'string' ? textOf(message) : undefined
}

/** Returns the reason in the body of a failed request, whatever its format. */
export function failureText(body: string): string {
  const text = body.trim()
  if (text === '') return 'it gives no reason'
  try {
    const value: unknown = JSON.parse(text)
    return failureIn(value) ?? textOf(value)
  } catch {
    return cut(text.startsWith('<') ? wordsOf(text) || 'a web page' : text)
  }
}

/**
 * Returns the text of a value, down to `depth` levels, since a hostile body may be nested
 * arbitrarily deep.
 */
function textOf(value: unknown, depth = 4): string {
  if (typeof value === 'string') return cut(value.trim()) || 'it gives no reason'
  if (depth > 0 && Array.isArray(value) && value.length > 0) return textOf(value[0], depth - 1)
  if (depth > 0 && isRecord(value)) {
    const { message, msg, detail, error, reason, code } = value
    const first = [message, msg, detail, error, reason, code].find(
      (one) => one !== undefined && one !== null && one !== '',
    )
    if (first !== undefined) return textOf(first, depth - 1)
  }
  return isEmpty(value) ? 'it gives no reason' : cut(jsonOf(value))
}

function jsonOf(value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch {
    return 'a value nested too deep to be shown'
  }
}

/** Returns the visible text of an HTML page. */
function wordsOf(html: string): string {
  return html
    .slice(0, 5_000)
    .replace(/<(script|style)\b[^>]*>[^<]*<\/\1>/gi, ' ')
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
}

function cut(text: string): string {
  return text.length > longest ? `${text.slice(0, longest)}…` : text
}

function isEmpty(value: unknown): boolean {
  return value === null || value === undefined || (typeof value === 'object' && Object.keys(value).length === 0)
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
