/** Formats the current time as Python's strftime does. */

/**
 * Formats by their code, each created once, since creating one takes as long as a hundred
 * renderings.
 */
const calendarNames = new Map<string, Intl.DateTimeFormat>()

function calendarName(code: string, options: Intl.DateTimeFormatOptions, now: Date): string {
  const known = calendarNames.get(code)
  const format = known ?? new Intl.DateTimeFormat('en', options)
  if (!known) calendarNames.set(code, format)
  return format.format(now)
}

/**
 * Formats the current time as Python's strftime does, for the codes that chat templates use; other
 * codes are left unchanged.
 */
export function strftimeNow(format: string): string {
  const now = new Date()
  const two = (value: number) => String(value).padStart(2, '0')
  const codes: Readonly<Record<string, () => string>> = {
    Y: () => String(now.getFullYear()),
    y: () => two(now.getFullYear() % 100),
    m: () => two(now.getMonth() + 1),
    d: () => two(now.getDate()),
    H: () => two(now.getHours()),
    I: () => two(now.getHours() % 12 || 12),
    M: () => two(now.getMinutes()),
    S: () => two(now.getSeconds()),
    p: () => (now.getHours() < 12 ? 'AM' : 'PM'),
    b: () => calendarName('b', { month: 'short' }, now),
    B: () => calendarName('B', { month: 'long' }, now),
    a: () => calendarName('a', { weekday: 'short' }, now),
    A: () => calendarName('A', { weekday: 'long' }, now),
    '%': () => '%',
  }
  return format.replace(/%(.)/g, (whole, code: string) =>
    Object.hasOwn(codes, code) ? (codes[code]?.() ?? whole) : whole,
  )
}
