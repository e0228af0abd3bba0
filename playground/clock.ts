/** Says what time it is, here or elsewhere. */

/** A time zone that is not known. */
export class ClockError extends Error {}

/**
 * Returns the date and time of `now` in a time zone, such as
 * `Monday, 2026-11-30 22:04:08 (Europe/Oslo, UTC+01:00)`. `zone` is a name of the IANA list or the
 * name of a city in it, and by default the time zone of this device. Throws a `ClockError` for
 * another name.
 */
export function timeIn(zone: string | undefined, now: Date): string {
  const format = formatIn(zone)
  const parts = Object.fromEntries(format.formatToParts(now).map(({ type, value }) => [type, value]))
  const { weekday, year, month, day, hour, minute, second, timeZoneName = '' } = parts
  const { timeZone } = format.resolvedOptions()
  const offset = timeZoneName.replace(/^GMT/, '') || '+00:00'
  return `${weekday}, ${year}-${month}-${day} ${hour}:${minute}:${second} (${timeZone}, UTC${offset})`
}

function formatIn(zone: string | undefined): Intl.DateTimeFormat {
  const wanted = zone?.trim() ?? ''
  const found = wanted === '' ? undefined : (formatOf(wanted) ?? formatOf(zoneOfCity(wanted)))
  if (found) return found
  if (wanted === '') return formatOf(new Intl.DateTimeFormat().resolvedOptions().timeZone) ?? utc()
  throw new ClockError(
    `${JSON.stringify(wanted.slice(0, 60))} is not a time zone; use a name of the IANA list, such as Europe/Oslo`,
  )
}

function formatOf(timeZone: string | undefined): Intl.DateTimeFormat | undefined {
  if (timeZone === undefined) return undefined
  try {
    return new Intl.DateTimeFormat('en-GB', { ...shape, timeZone })
  } catch {
    return undefined
  }
}

const shape = {
  weekday: 'long',
  year: 'numeric',
  month: '2-digit',
  day: '2-digit',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
  timeZoneName: 'longOffset',
} as const

function utc(): Intl.DateTimeFormat {
  return new Intl.DateTimeFormat('en-GB', { ...shape, timeZone: 'UTC' })
}

/** Returns the time zone that is named after a city, such as Europe/Oslo for "oslo". */
function zoneOfCity(city: string): string | undefined {
  const plain = city.toLowerCase().replace(/[\s_]+/g, '_')
  return Intl.supportedValuesOf('timeZone').find((zone) => zone.toLowerCase().endsWith(`/${plain}`))
}
