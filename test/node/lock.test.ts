import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { lifeOf, self, withLock } from '../../node/lock.ts'

let folder: string
let path: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'foretoken-lock-'))
  path = join(folder, 'x.lock')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const done = async () => 'done'
/** A process that has ended. */
async function ended(): Promise<number> {
  const child = spawn(process.execPath, ['-e', ''])
  await once(child, 'exit')
  return child.pid!
}

test('holders follow one another, in turn, and nothing is left', async () => {
  let inside = 0
  const work = async () => {
    expect(++inside).toBe(1)
    await new Promise((resolve) => setTimeout(resolve, 5))
    inside--
  }
  await Promise.all(Array.from({ length: 5 }, () => withLock(path, work)))
  await expect(withLock(path, () => Promise.reject(new Error('failed')))).rejects.toThrow('failed')
  expect(existsSync(path)).toBe(false)
})

test('a lock whose process has ended is taken over; one of a live process is refused, or waited for', async () => {
  writeFileSync(path, JSON.stringify({ ...self(), pid: await ended(), token: 'x' }))
  expect(await withLock(path, done, { refuse: 'held' })).toBe('done')
  // The pid is in use again, by a process that started later.
  writeFileSync(path, JSON.stringify({ ...self(), started: '1', token: 'x' }))
  if (self().started !== '') expect(await withLock(path, done, { refuse: 'held' })).toBe('done')
  await withLock(path, async () => {
    await expect(withLock(path, done, { refuse: 'held' })).rejects.toMatchObject({ code: 'busy', message: 'held' })
    const control = new AbortController()
    const said: string[] = []
    const onWait = (holder: string) => {
      said.push(holder)
      control.abort()
    }
    await expect(withLock(path, done, { onWait, signal: control.signal })).rejects.toMatchObject({ code: 'aborted' })
    expect(said).toEqual([`process ${process.pid}`])
  })
})

test("a pid of another container or machine is not checked: the lock's modification time is", async () => {
  const foreign = { pid: 1, space: 'another machine', started: '5', token: 'x' }
  expect(lifeOf(foreign)).toBe('unknown')
  writeFileSync(path, JSON.stringify(foreign))
  const beat = setInterval(() => existsSync(path) && utimesSync(path, new Date(), new Date()), 20)
  try {
    await expect(withLock(path, done, { refuse: 'held', silentMs: 2000 })).rejects.toMatchObject({ code: 'busy' })
  } finally {
    clearInterval(beat)
  }
  expect(await withLock(path, done, { refuse: 'held', silentMs: 200 })).toBe('done')
})

test("a holder that lost its lock leaves the next one's alone", async () => {
  await withLock(path, async () => {
    // This simulates a long pause: another process has the lock now.
    rmSync(path)
    writeFileSync(path, JSON.stringify({ ...self(), token: 'the next' }))
  })
  expect(readFileSync(path, 'utf8')).toContain('the next')
})

test.each(['', '123', 'null', '{"pid": -1}'])('a lock of %j is waited for, then taken over', async (text) => {
  writeFileSync(path, text)
  let waited = false
  expect(await withLock(path, done, { silentMs: 150, onWait: () => (waited = true) })).toBe('done')
  expect(waited).toBe(true)
})
