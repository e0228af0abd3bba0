/** A companion on this machine, as a process of its own: on the GPU where there is one. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))

export interface Started {
  readonly url: string
  readonly key: string
  stop(): void
}

export async function startCompanion(model: string, backends = ['webgpu', 'wasm']): Promise<Started> {
  const key = 'ab'.repeat(32)
  for (const backend of backends) {
    const args = ['companion', '-m', model, '--listen', '127.0.0.1:0', '--backend', backend]
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main, ...args], {
      env: { ...process.env, FORETOKEN_COMPANION_KEY: key },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    for await (const line of createInterface({ input: child.stderr })) {
      const [url] = /http:\/\/[\d.:]+/.exec(line) ?? []
      if (!url) continue
      child.stderr.resume()
      return { url, key, stop: () => child.kill() }
    }
  }
  throw new Error('no companion starts here: run `foretoken companion` to see why')
}
