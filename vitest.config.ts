import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { LongestFirst } from './test/helpers/order.ts'

// Tests start the command some hundred times, each time with a home of its own: without a common
// place for compiled code each start would compile all of it, which takes most of its CPU time.
// test/cli/compiled.test.ts has the command's own place.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('node_modules/.cache/foretoken-code', import.meta.url))

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/helpers/built-command.ts',
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // A busy machine may take a while until what is polled for comes.
    expect: { poll: { timeout: 60_000 } },
    // Vitest would leave a core idle, which is half of a machine with two.
    maxWorkers: availableParallelism(),
    sequence: { sequencer: LongestFirst },
  },
})
