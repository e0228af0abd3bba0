/** Asks whether the terms of a model are agreed to. */
import { createInterface } from 'node:readline/promises'
import type { Licence } from '../node/index.ts'

/** Asks on the terminal; false without one, and for any answer but yes. */
export async function agrees({ name, address }: Licence, model: string, signal: AbortSignal): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return false
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await lines.question(`${model} is under ${name}: ${address}\nDo you agree to them? [y/N] `, {
      signal,
    })
    return /^y(es)?$/i.test(answer.trim())
  } finally {
    lines.close()
  }
}
