/** A text worker for the hosts whose workers are those of the web: Deno and Bun. */
import type { SpawnText } from '../src/index.ts'
import { webText } from '../workers/web.ts'

/** Its source, or its built form beside the bundle. */
const script = import.meta.url.endsWith('.ts') ? '../workers/text.ts' : './text-worker.js'

/**
 * Starts a worker for chat templates and tokenizing: pass it to `Engine.load`, so that long prompts and templates that run on hold up no other request.
 * A worker that takes too long is ended; neither host bounds its memory.
 */
export const spawnText: SpawnText = webText(new URL(script, import.meta.url))
