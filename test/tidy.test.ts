/** Rules of the repository that a machine can hold. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const mostLines = 500

/** Files that may be longer, each with its reason. There is none. */
const exceptions: Record<string, string> = {}

const tracked = list()
const sources = tracked.filter(
  // Generated files have the format of their tools.
  (file) => /\.(ts|mts|mjs|js|rs|py|sh|wgsl)$/.test(file) && !file.startsWith('wasm/dist/'),
)
const texts = tracked.filter(
  (file) => /\.(ts|mts|mjs|js|rs|py|sh|md|json|toml|yml|wgsl)$/.test(file) || file === '.ci/run',
)

/** Files that git tracks or would track; a copy without git is not checked. */
function list(): string[] {
  try {
    const args = ['ls-files', '--cached', '--others', '--exclude-standard']
    return execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .split('\n')
      .filter((file) => file !== '' && existsSync(join(root, file)))
  } catch {
    return []
  }
}

const read = (file: string) => readFileSync(join(root, file), 'utf8')

/** Lines of `files` that match, as `file:line`. */
function matches(files: readonly string[], pattern: RegExp): string[] {
  return files.flatMap((file) =>
    read(file)
      .split('\n')
      .flatMap((line, n) => (pattern.test(line) ? [`${file}:${n + 1}: ${line.trim().slice(0, 100)}`] : [])),
  )
}

// Written in pieces, so that this file does not find itself.
const left = new RegExp(`\\b(${['TO', 'FIX'].map((start, n) => start + ['DO', 'ME'][n]).join('|')}|X{3})\\b`)
const skipped = new RegExp(
  `\\b(test|it|describe|suite)\\.(${['on', 'sk'].map((s, n) => s + ['ly', 'ip'][n]).join('|')})\\b\\s*\\(`,
)
const ignored = new RegExp(`#\\[${'ign'}ore\\b(?!\\s*=)`)
const ordinal = /\$?\{[^{}]*\}(st|nd|rd|th)\b(?![,{])/
/** A number that is another in every run. `= Math.random` is a default for callers. */
const drawn = new RegExp(`Math\\.${'ran'}dom\\(|seed\\b.*(Date|performance)\\.${'no'}w`)
const unseeded = new RegExp(`from '${'fast'}-check'`)
const workplace = new RegExp(`(^|[^\\w.~-])/(${['work', 'root', 'home/[a-z]'].join('|')})/[\\w.]`)

describe.runIf(tracked.length > 0)('tidy', () => {
  test(`no source file is longer than ${mostLines} lines`, () => {
    const long = sources.filter((file) => !exceptions[file] && read(file).split('\n').length - 1 > mostLines)
    expect(long).toEqual([])
  })

  test('no comment postpones work', () => expect(matches(sources, left)).toEqual([]))

  test('no test is skipped, and none runs alone', () => {
    expect(matches(sources, skipped)).toEqual([])
    expect(matches(sources, ignored)).toEqual([])
  })

  test('no number gets an ordinal suffix, which would give 1th and 2th', () => {
    expect(['the $', '{index + 1}th of them'].join('')).toMatch(ordinal)
    expect(
      matches(
        sources.filter((file) => !file.startsWith('test/')),
        ordinal,
      ),
    ).toEqual([])
  })

  test('tests draw only from the seed of all tests', () => {
    const tests = sources.filter((file) => /^test\/.*\.ts$/.test(file) && !/-main\.ts$|\/seed\.ts$/.test(file))
    expect(matches(tests, drawn)).toEqual([])
    const properties = 'test/helpers/properties.ts'
    expect(
      matches(
        tests.filter((file) => file !== properties),
        unseeded,
      ),
    ).toEqual([])
    for (const line of [`const seed = Date.${'no'}w() % 2`, `seed: performance.${'no'}w()`, `Math.${'ran'}dom()`])
      expect(line).toMatch(drawn)
  })

  test('no path of a workplace', () => expect(matches(texts, workplace)).toEqual([]))

  test.each(['README.md', 'ARCHITECTURE.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'LICENSE'])('%s exists', (file) => {
    expect(read(file).length).toBeGreaterThan(300)
  })

  test('README begins with how to start and how to test', () => {
    const text = read('README.md')
    expect(text.indexOf('npm start -- ')).toBeGreaterThan(0)
    expect(text.indexOf('npm test')).toBeGreaterThan(text.indexOf('npm start -- '))
    expect(text.indexOf('npm test')).toBeLessThan(1500)
  })

  test('dependencies have exact versions', () => {
    const { dependencies, devDependencies } = JSON.parse(read('package.json'))
    const loose = Object.entries({ ...dependencies, ...devDependencies }).filter(
      ([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version as string),
    )
    expect(loose).toEqual([])
  })
})
