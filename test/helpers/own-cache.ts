/** A model store and a hub's cache of a test's own, so that nothing of whoever runs the tests is read or written. */
import { join } from 'node:path'
import { vi } from 'vitest'

/** Points the environment below `folder`, and at a hub at `hubUrl`; `vi.unstubAllEnvs` undoes it. */
export function stubCache(folder: string, hubUrl: string): void {
  vi.stubEnv('FORETOKEN_HOME', join(folder, 'home'))
  vi.stubEnv('HF_HOME', join(folder, 'hf'))
  vi.stubEnv('HF_HUB_CACHE', '')
  vi.stubEnv('HF_TOKEN', '')
  vi.stubEnv('HF_ENDPOINT', hubUrl)
  vi.stubEnv('HF_HUB_OFFLINE', '')
  vi.stubEnv('FORETOKEN_OFFLINE', '')
}
