/** `foretoken bench ttft` and `bench report` as commands, on a tiny model and a tiny endpoint. */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { chromium } from '../../scripts/chromium.mjs'
import { openModel } from '../../src/model/open.ts'
import { builtCommand } from '../helpers/built-command.ts'
import { startCli } from '../helpers/cli-process.ts'
import { writeOnnxFolder } from '../helpers/onnx-folder.ts'
import { tinyFiles, tinyGguf } from '../helpers/tiny-model.ts'

const folder = mkdtempSync(join(tmpdir(), 'foretoken-ttft-'))
const model = join(folder, 'tiny.gguf')
let server: ReturnType<typeof startCli>
beforeAll(async () => {
  // Installed where there is none.
  chromium()
  writeFileSync(model, tinyGguf({ context: 1024 }))
  server = startCli(['serve', '--port', '0', '-m', model, '--threads', '1'], { FORETOKEN_HOME: folder })
  const archive = await openModel(tinyFiles({ context: 1024 }))
  await writeOnnxFolder(join(folder, 'exported'), archive)
})
afterAll(() => {
  server.child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

function foretoken(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, FORETOKEN_HOME: folder, NO_COLOR: '1' }
    execFile(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', builtCommand, ...args],
      { env, maxBuffer: 1 << 24 },
      (error, out, err) => resolve({ code: error ? Number(error.code ?? 1) : 0, out, err }),
    )
  })
}

test('engines alternate, answers are compared, and a second run is compared with the first', async () => {
  const url = `${await server.url()}/v1`
  const exported = join(folder, 'exported')
  const args = ['bench', 'ttft', '-m', model, '--threads', '1', '--lengths', '64,200', '--runs', '2', '--json']
  const first = await foretoken(
    ...args,
    '--engines',
    `foretoken,${url}`,
    '--engines',
    `onnx:${exported}`,
    '--engines',
    'chromium,wllama,llama.cpp,transformers.js:nowhere',
    '--plot',
    join(folder, 'charts'),
  )
  expect(first.code, first.err).toBe(0)
  const record = JSON.parse(first.out)
  expect(record).toMatchObject({ bench: 'ttft', runs: 2, cold_ms: { p50: expect.any(Number) } })
  const engines = [...new Set(record.rows.map(({ engine }: { engine: string }) => engine))]
  expect(engines.slice(0, 2)).toEqual(['foretoken', url])
  expect(record.answers.map(({ agrees }: { agrees: boolean }) => agrees)).toEqual(engines.map(() => true))
  for (const { samples, ttft_ms } of record.rows) {
    expect(samples).toHaveLength(2)
    expect(ttft_ms.p50).toBeGreaterThan(0)
  }
  expect(record.rows[0].fraction_of_peak).toBeGreaterThan(0)
  expect(engines, JSON.stringify(record.left_out)).toContain('chromium')
  // An engine that cannot be measured is reported, not dropped; where it is installed it is a row.
  const all = [...engines, ...record.left_out.map(({ engine }: { engine: string }) => engine)]
  expect(all).toEqual(expect.arrayContaining(['wllama', 'llama.cpp', 'transformers.js:nowhere']))
  expect(readFileSync(join(folder, 'charts', 'ttft.svg'), 'utf8')).toContain('foretoken, exact')

  mkdirSync(join(folder, 'records'))
  writeFileSync(join(folder, 'records', '2026-01-01-ttft.json'), first.out)
  const again = await foretoken(...args, '--against', join(folder, 'records'))
  expect(again.code, again.err).toBe(0)
  const { against } = JSON.parse(again.out)
  expect(against.file).toBe('2026-01-01-ttft.json')
  expect(against.rows.map(({ length }: { length: number }) => length)).toEqual([64, 200])

  const report = await foretoken('bench', 'report', join(folder, 'records'), '--out', join(folder, 'report.html'))
  expect(report.code, report.err).toBe(0)
  expect(readFileSync(join(folder, 'report.html'), 'utf8')).toContain('<svg')
})

test.each([
  [['ttft', '--engines', 'nothing'], 0, 'no engine nothing'],
  [['ttft', '--modes', 'guessed'], 2, 'no mode guessed'],
  [['report', 'no-such-folder'], 1, 'no such folder'],
] as const)('%j', async (args, code, why) => {
  const {
    code: got,
    out,
    err,
  } = await foretoken('bench', ...args, ...(args[0] === 'ttft' ? ['-m', model, '--lengths', '16', '--runs', '1'] : []))
  expect(got).toBe(code)
  expect(out + err).toContain(why)
})
