/**
 * `npm run fuzz:api -- [CASES] [SEED]`: sends requests as careless clients write them
 * (test/suites/api-fuzz.ts), 5,000 by default. Then schemathesis sends 40 % as many, from the OpenAPI
 * document of a server with a tiny model. Schemathesis is installed from PyPI on first use and needs
 * Python 3.10 or later.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pythonWith } from './python.mjs'
import { root, run, setup } from './setup.mjs'

const version = '4.32.5'
const operations = 16
const [cases = 5000, ...seed] = process.argv.slice(2).map(Number)
const node = setup()
const careless = join(root, 'test', 'suites', 'api-fuzz-main.ts')
const failed = await run(node, ['--disable-warning=ExperimentalWarning', careless, String(cases), ...seed.map(String)])
if (failed) process.exit(failed)
const program = pythonWith('schemathesis', version)
const server = spawn(node, [join(root, 'test', 'edge', 'hosts', 'serve.ts')], {
  cwd: root,
  stdio: ['ignore', 'pipe', 'inherit'],
})
const url = await new Promise((resolve, reject) => {
  createInterface({ input: server.stdout }).once('line', resolve)
  server.once('exit', (code) => reject(new Error(`the server ended with ${code}`)))
})
const work = mkdtempSync(join(tmpdir(), 'foretoken-fuzz-'))
const checks = 'not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance'
process.exitCode = await run(
  program('schemathesis'),
  [
    'run',
    `${url}/openapi.json`,
    '--header',
    'Authorization: Bearer key-of-one',
    '--checks',
    checks,
    '--max-examples',
    String(Math.ceil((cases * 0.4) / operations)),
    '--seed',
    '1',
  ],
  { cwd: work },
)
server.kill()
rmSync(work, { recursive: true, force: true })
