/**
 * Shows the inner loops of the kernels: what a module says, and what V8 makes of it.
 *
 *     node bench/kernel-code.ts [NAME.wasm]              chains, vectors alive and handed on
 *     node bench/kernel-code.ts --engine [NAME.wasm]     products and spills in V8's machine code
 *
 * The first reads the module's bytes, and `test/wasm-loops.test.ts` holds it. The second is a tool
 * for work on a kernel.
 */

import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { defined } from '../src/base/at.ts'
import { multiplyingLoops } from './wasm-loops.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    engine: { type: 'boolean', default: false },
    rows: { type: 'string', default: '1,4,15' },
    type: { type: 'string', default: 'q4_1' },
    lowering: { type: 'string' },
  },
})
const file = positionals[0] ?? fileURLToPath(new URL('../wasm/dist/relaxed.wasm', import.meta.url))
if (values.engine) engine()
else
  for (const { fn, at, products, chain, carried, live, handed } of multiplyingLoops(readFileSync(file))) {
    const kinds = Object.entries(products).map(([kind, count]) => `${count} ${kind}`)
    console.log(
      `function ${fn} loop ${at}: ${kinds.join(', ')}; chain ${chain}, carried ${carried}, alive ${live}, handed on ${handed}`,
    )
  }

/** Runs the products until they are optimised, in a process that prints its machine code. */
function engine(): void {
  const bench = fileURLToPath(new URL('kernels.ts', import.meta.url))
  const args = ['--print-wasm-code', bench, '--rows', values.rows, '--type', values.type, '--rounds', '60', file]
  if (values.lowering !== undefined) args.push('--lowering', values.lowering)
  // Through a file, because V8 prints from several threads, and text that a pipe has not taken when
  // the process ends is lost.
  const folder = mkdtempSync(join(tmpdir(), 'foretoken-code-'))
  const printed = join(folder, 'code.txt')
  const out = openSync(printed, 'w')
  const { status } = spawnSync(process.execPath, args, { stdio: ['ignore', out, 'inherit'] })
  closeSync(out)
  const stdout = readFileSync(printed, 'utf8')
  rmSync(folder, { recursive: true })
  if (status !== 0) throw new Error(`the products did not run (status ${status})`)
  for (const text of stdout.split('--- WebAssembly code ---')) {
    if (!text.includes('compiler: TurboFan')) continue
    const name = /^index: (\d+)/m.exec(text)?.[1]
    const lines = text.split('\n').flatMap((line) => {
      const found = /^0x[0-9a-f]+\s+([0-9a-f]+)\s+[0-9a-f]+\s+(.*)$/.exec(line)
      return found ? [{ at: Number.parseInt(defined(found[1]), 16), code: defined(found[2]) }] : []
    })
    for (const loop of loopsOf(lines)) {
      const count = (pattern: RegExp) => loop.filter(({ code }) => pattern.test(code)).length
      const products = count(/vpdpbusd|vpmaddubsw|vpmaddwd|vfmadd|vmulps/)
      if (products < 2) continue
      const spills = count(/^vmov\w+ (xmm\d+,)?\[rbp-/)
      console.log(
        `function ${name} loop at ${defined(loop[0]).at.toString(16)}: ${products} products (${count(/vpdpbusd/)} dots), ${spills} spills and reloads, ${loop.length} instructions`,
      )
    }
  }
}

interface Line {
  /** Number of bytes after the beginning of the function. */
  readonly at: number
  readonly code: string
}

/**
 * Returns the innermost loops: from the target of a backward jump to the jump, without another such
 * range inside.
 */
function loopsOf(lines: readonly Line[]): Line[][] {
  const ranges = lines.flatMap(({ at, code }) => {
    const target = /^j\w+ .*<\+0x([0-9a-f]+)>/.exec(code)?.[1]
    const from = target === undefined ? at : Number.parseInt(target, 16)
    return from < at ? [{ from, to: at }] : []
  })
  const inner = ranges.filter((range) => {
    return !ranges.some((other) => other !== range && other.from >= range.from && other.to < range.to)
  })
  return inner.map(({ from, to }) => lines.filter(({ at }) => at >= from && at <= to))
}
