import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // A busy machine may take a while until what is polled for comes.
    expect: { poll: { timeout: 60_000 } },
  },
})
