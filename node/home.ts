/** The folder of what foretoken keeps. */
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Environment } from './proxy.ts'

/** Returns foretoken's folder: `FORETOKEN_HOME`, or `foretoken` in the user's cache folder. */
export function home(env: Environment = process.env): string {
  return resolve(env.FORETOKEN_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'foretoken'))
}
