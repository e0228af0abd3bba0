/**
 * Formats `x-foretoken-route`, the route of an answer and its predicted times, as a structured
 * field (RFC 9651, an item with parameters).
 *
 *     remote;companion="mac:8788";predicted=212.4;actual=198.0;local=1730.2;relay=230.9
 *
 * `predicted` and `actual` are milliseconds to the first token; the other routes have their
 * predicted times. `fell-back` means that the companion's part was abandoned and the answer was
 * computed here; the server's log has the reason.
 */
import type { RouteReport } from '../../src/index.ts'

export function routeHeader(route: RouteReport | undefined): Record<string, string> {
  if (!route) return {}
  const { way, companion, predicted_ms, actual_ms, considered, fell_back } = route
  const others = Object.entries(considered).filter(([other]) => other !== way)
  const parts = [
    way,
    ...(companion === undefined ? [] : [`companion="${companion}"`]),
    ...(fell_back === undefined ? [] : ['fell-back']),
    `predicted=${decimal(predicted_ms)}`,
    ...(actual_ms === undefined ? [] : [`actual=${decimal(actual_ms)}`]),
    ...others.map(([other, ms]) => `${other}=${decimal(ms)}`),
  ]
  return { 'x-foretoken-route': parts.join(';') }
}

/** Formats a decimal of RFC 9651, which has at most 12 digits before the point. */
function decimal(ms: number): string {
  return Math.min(999_999_999_999, Math.max(0, ms)).toFixed(1)
}
