/** Starts a companion on this machine in a process of its own, on the GPU if there is one. */
import { fileURLToPath } from 'node:url'
import { listening, type Served } from './listening.ts'

/** The command, from its sources or as it ships, where all of its parts lie beside its start. */
const source = import.meta.url.endsWith('.ts')
const main = fileURLToPath(new URL(source ? '../../cli/main.ts' : './cli.js', import.meta.url))

export interface Started extends Served {
  readonly key: string
}

export async function startCompanion(model: string, backends = ['webgpu', 'wasm']): Promise<Started> {
  const key = 'ab'.repeat(32)
  for (const backend of backends) {
    const args = ['companion', '-m', model, '--listen', '127.0.0.1:0', '--backend', backend]
    const served = await listening(main, args, { FORETOKEN_COMPANION_KEY: key }).catch(() => undefined)
    if (served) return { ...served, key }
  }
  throw new Error('no companion starts here: run `foretoken companion` to see why')
}
