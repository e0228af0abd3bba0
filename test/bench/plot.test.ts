import { describe, expect, test } from 'vitest'
import { distributionChart, lineChart } from '../../bench/plot.ts'
import fc from '../helpers/properties.ts'

/** Fails on text that is not well-formed: tags that do not match, text that is not escaped. */
function wellFormed(svg: string): void {
  const open: string[] = []
  const body = svg.replace(/<style>[^<]*<\/style>/, '')
  for (const part of body.split(/(<[^>]*>)/)) {
    if (!part.startsWith('<')) {
      expect(part.replace(/&(amp|lt|gt|quot);/g, '')).not.toMatch(/[<&]/)
      continue
    }
    const [, close, name, attributes, empty] = /^<(\/?)([a-z]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>$/.exec(part) ?? []
    expect(name, part).toBeDefined()
    expect(attributes!.replace(/&(amp|lt|gt|quot);/g, '')).not.toContain('&')
    if (close) expect(open.pop()).toBe(name)
    else if (!empty) open.push(name!)
  }
  expect(open).toEqual([])
}

const chart = (points: readonly (readonly [number, number])[], log = false) =>
  lineChart({ title: 't', x: { label: 'x', log }, y: { label: 'y', log }, series: [{ name: 's', points }] })

const marks = (svg: string) =>
  [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => [Number(x), Number(y)])

describe('a chart', () => {
  test('places points at their values', () => {
    const found = marks(
      chart([
        [0, 0],
        [5, 10],
        [10, 20],
      ]),
    )
    expect(found).toHaveLength(3)
    const [a, b, c] = found as [number[], number[], number[]]
    expect(b[0]! - a[0]!).toBeCloseTo(c[0]! - b[0]!, 0)
    expect(a[1]! - b[1]!).toBeCloseTo(b[1]! - c[1]!, 0)
    expect(c[0]!).toBeGreaterThan(a[0]!)
    expect(c[1]!).toBeLessThan(a[1]!)
  })

  test('a logarithmic axis makes factors equal', () => {
    const [a, b, c] = marks(
      chart(
        [
          [1, 1],
          [10, 10],
          [100, 100],
        ],
        true,
      ),
    ) as [number[], number[], number[]]
    expect(b[0]! - a[0]!).toBeCloseTo(c[0]! - b[0]!, 0)
    expect(
      marks(
        chart(
          [
            [0, 1],
            [-1, 5],
            [1, 1],
            [2, 4],
          ],
          true,
        ),
      ),
    ).toHaveLength(2)
  })

  test('any title and any points give a valid picture, with everything inside', () => {
    const value = fc.double({ noDefaultInfinity: false })
    fc.assert(
      fc.property(
        fc.string(),
        fc.array(fc.tuple(value, value), { maxLength: 20 }),
        fc.boolean(),
        (name, points, log) => {
          const svg = lineChart({
            title: name.replace(/[\p{C}]/gu, ''),
            x: { label: name.replace(/[\p{C}]/gu, ''), log },
            y: { label: 'y' },
            series: [
              { name: 'one', points: points.map(([x, y]) => [x % 1e6, y % 1e6] as const) },
              { name: 'none', points: [] },
            ],
          })
          wellFormed(svg)
          expect(svg).not.toContain('NaN')
          for (const [x, y] of marks(svg)) {
            expect(x).toBeGreaterThanOrEqual(0)
            expect(x).toBeLessThanOrEqual(720)
            expect(y).toBeGreaterThanOrEqual(0)
            expect(y).toBeLessThanOrEqual(440)
          }
        },
      ),
      {
        examples: [
          ['', [[5e-324, 0]], true],
          [
            '',
            [
              [1e6, 0],
              [5e-324, 1],
            ],
            true,
          ],
        ],
      },
    )
  })

  test('labels of lines that end close together do not overlap', () => {
    const series = ['a', 'b', 'c', 'd', 'e'].map((name) => ({
      name,
      points: [
        [0, 1],
        [1, 1],
      ] as const,
    }))
    const svg = lineChart({ title: 't', x: { label: 'x' }, y: { label: 'y' }, series })
    const heights = [...svg.matchAll(/y="([\d.]+)" style/g)].map(([, y]) => Number(y)).sort((a, b) => a - b)
    expect(heights).toHaveLength(5)
    for (let i = 1; i < 5; i++) expect(heights[i]! - heights[i - 1]!).toBeGreaterThanOrEqual(14)
  })

  test('a distribution rises to 1', () => {
    const svg = distributionChart({ title: 't', x: { label: 'ms', log: true } }, [{ name: 's', values: [3, 1, 2, 4] }])
    wellFormed(svg)
    const found = marks(svg)
    expect(found).toHaveLength(4)
    for (let i = 1; i < 4; i++) expect(found[i]![1]!).toBeLessThan(found[i - 1]![1]!)
  })
})
