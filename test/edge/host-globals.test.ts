import { expect, test } from 'vitest'
import { serveBun } from '../../edge/bun.ts'
import { serveDeno } from '../../edge/deno.ts'

const options = { fetch: () => new Response(), port: 0 }

test.each([
  ['Bun', serveBun],
  ['Deno', serveDeno],
])('the server of %s reports its runtime', (runtime, serve) => {
  expect(() => serve(options)).toThrow(
    expect.objectContaining({ code: 'unsupported', message: expect.stringContaining(`runs on ${runtime} only`) }),
  )
})
