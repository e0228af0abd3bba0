/**
 * How often a test repeats itself with other prompts or places. `FORETOKEN_ROUNDS=all` takes the
 * larger numbers, which look for rare faults; the smaller ones find what a change broke.
 */
const { FORETOKEN_ROUNDS: wanted = 'few' } = process.env

if (!['few', 'all'].includes(wanted)) throw new Error(`FORETOKEN_ROUNDS is ${wanted}, not few or all`)

export function rounds(few: number, all: number): number {
  return wanted === 'all' ? all : few
}
