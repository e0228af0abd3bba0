/** Text and guide workers for hosts with web workers: Deno and Bun. */
import type { SpawnGuides, SpawnText } from '../src/index.ts'
import { webGuides, webText } from '../workers/web.ts'

/** The workers' sources, or their built forms beside the bundle. */
const [text, guide] = import.meta.url.endsWith('.ts')
  ? ['../workers/text.ts', '../workers/guide.ts']
  : ['./text-worker.js', './guide-worker.js']

/**
 * Starts a worker for chat templates and tokenization. Pass it to `Engine.load`, so that long
 * prompts and slow templates do not block other requests. A worker that takes too long is
 * terminated; neither host limits its memory.
 */
export const spawnText: SpawnText = webText(new URL(text, import.meta.url))

/**
 * Starts a worker that compiles the grammars of answers. Pass it to `openGuides`, so that a large
 * schema does not hold up other answers. A worker that takes too long is terminated; neither host
 * limits its memory.
 */
export const spawnGuides: SpawnGuides = webGuides(new URL(guide, import.meta.url))
