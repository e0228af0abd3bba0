import AxeBuilder from '@axe-core/playwright'
import type { Page } from 'playwright-core'
import { expect } from 'vitest'

/**
 * Expects that what a page shows has no accessibility violation, light and dark, and is no wider
 * than its window.
 */
export async function expectAccessible(page: Page, where: string): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme })
    const dark = await page.evaluate(() => matchMedia('(prefers-color-scheme: dark)').matches)
    expect(dark).toBe(colorScheme === 'dark')
    const { violations } = await new AxeBuilder({ page }).analyze()
    expect(violations.map(({ id, nodes }) => `${where}, ${colorScheme}: ${id} ${nodes[0]?.html}`)).toEqual([])
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    expect(wide, `${where}, ${colorScheme}`).toBeLessThanOrEqual(0)
  }
}
