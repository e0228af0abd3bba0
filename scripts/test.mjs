/**
 * `npm test`: sets the clone up, then runs vitest, and cargo if it is installed. With arguments,
 * runs only vitest, with these arguments. The last line is `N passed, N failed`, from the results
 * of both runners; it is also written to the file in FORETOKEN_COUNTS.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { standaloneCore } from '../wasm/standalone.mjs'
import { root, run, setup } from './setup.mjs'

const args = process.argv.slice(2)
const node = setup()
const vitest = await runVitest()
const cargo = args.length > 0 ? undefined : await runCargo()
const runners = cargo ? [vitest, cargo] : [vitest]
const sum = (key) => runners.reduce((total, runner) => total + runner[key], 0)
const line = `${sum('passed')} passed, ${sum('failed')} failed`
if (process.env.FORETOKEN_COUNTS) writeFileSync(process.env.FORETOKEN_COUNTS, `${line}\n`)
console.log(line)
process.exitCode = runners.every(({ code }) => code === 0) ? 0 : 1

async function runVitest() {
  const folder = mkdtempSync(join(tmpdir(), 'foretoken-test-'))
  const report = join(folder, 'vitest.json')
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  try {
    const bin = join(root, 'node_modules', 'vitest', 'vitest.mjs')
    const code = await run(node, [bin, 'run', ...reporters, ...args])
    return { code, ...vitestCounts(report) }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/**
 * Counts results. A file that fails outside its tests (on loading, in a hook) counts as one
 * failure.
 */
function vitestCounts(report) {
  try {
    const { numPassedTests, numFailedTests, testResults } = JSON.parse(readFileSync(report, 'utf8'))
    const broken = testResults.filter(
      ({ status, assertionResults }) =>
        status === 'failed' && !assertionResults.some((assertion) => assertion.status === 'failed'),
    )
    return { passed: numPassedTests, failed: numFailedTests + broken.length }
  } catch {
    return { passed: 0, failed: 1 }
  }
}

async function runCargo() {
  if (spawnSync('cargo', ['--version'], { stdio: 'ignore' }).status !== 0) {
    console.log('cargo is not installed: skipping the native tests of the kernels (the built wasm was tested above)')
    return undefined
  }
  const { code, output } = await tee('cargo', ['test', '--manifest-path', standaloneCore()], {
    CARGO_TARGET_DIR: join(root, 'wasm', 'target'),
  })
  let [passed, failed] = [0, 0]
  for (const [, ok, bad] of output.matchAll(/^test result: \w+\. (\d+) passed; (\d+) failed/gm)) {
    passed += Number(ok)
    failed += Number(bad)
  }
  // A crate that does not compile reports no counts.
  return { code, passed, failed: code !== 0 && failed === 0 ? 1 : failed }
}

function tee(command, args, env) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, ...env },
    })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text
      process.stdout.write(text)
    })
    child.on('error', () => resolve({ code: 127, output }))
    child.on('close', (code) => resolve({ code: code ?? 1, output }))
  })
}
