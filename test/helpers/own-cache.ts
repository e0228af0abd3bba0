/**
 * Gives a test its own model store and hub cache, so that the user's are neither read nor written.
 */
import { join } from 'node:path'
import { vi } from 'vitest'

/**
 * Sets the environment to folders below `folder`, and to a hub at `hubUrl`; `vi.unstubAllEnvs`
 * undoes it.
 */
export function stubCache(folder: string, hubUrl: string): void {
  vi.stubEnv('FORETOKEN_HOME', join(folder, 'home'))
  vi.stubEnv('HF_HOME', join(folder, 'hf'))
  vi.stubEnv('HF_HUB_CACHE', '')
  vi.stubEnv('HF_TOKEN', '')
  vi.stubEnv('HF_ENDPOINT', hubUrl)
  vi.stubEnv('HF_HUB_OFFLINE', '')
  vi.stubEnv('FORETOKEN_OFFLINE', '')
}
