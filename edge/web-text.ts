/** Text workers for hosts with web workers: Deno and Bun. */
import type { SpawnText } from '../src/index.ts'
import { webText } from '../workers/web.ts'

/** The worker's source, or its built form beside the bundle. */
const script = import.meta.url.endsWith('.ts') ? '../workers/text.ts' : './text-worker.js'

/**
 * Starts a worker for chat templates and tokenization. Pass it to `Engine.load`, so that long
 * prompts and slow templates do not block other requests. A worker that takes too long is
 * terminated; neither host limits its memory.
 */
export const spawnText: SpawnText = webText(new URL(script, import.meta.url))
