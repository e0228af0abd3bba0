/** Tests the uploaded part of a Worker: its program, without weights. */
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'

const most = 1_000_000
/** The grammar engine's module, which only requests with a guide run. */
const mostGuide = 640_000
const wrangler = join(dirname(createRequire(import.meta.url).resolve('wrangler/package.json')), 'bin', 'wrangler.js')
const configs = ['./worker/wrangler.toml', '../../wrangler.toml']
  .map((path) => fileURLToPath(new URL(path, import.meta.url)))
  .filter(existsSync)

test.each(configs)(
  `%s is bundled into at most ${most} bytes, gzip, including both builds of the core`,
  async (config) => {
    const out = mkdtempSync(join(tmpdir(), 'foretoken-bundle-'))
    try {
      const args = [wrangler, 'deploy', '--dry-run', '-c', config, '--outdir', out]
      const env = { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' }
      await promisify(execFile)(process.execPath, args, { env })
      const files = readdirSync(out).filter((file) => /\.(js|mjs|wasm)$/.test(file))
      const sizes = files.map((file) => [file, gzipSync(readFileSync(join(out, file)), { level: 9 }).length] as const)
      const total = sizes.reduce((sum, [, size]) => sum + size, 0)
      const guide = sizes.find(([file]) => file.includes('guide'))?.[1] ?? 0
      expect(files.filter((file) => file.endsWith('.wasm'))).toHaveLength(3)
      expect(guide).toBeGreaterThan(100_000)
      expect(guide).toBeLessThanOrEqual(mostGuide)
      expect(total - guide, JSON.stringify(sizes)).toBeLessThanOrEqual(most)
    } finally {
      rmSync(out, { recursive: true, force: true })
    }
  },
)
