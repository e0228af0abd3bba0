/** Opens the guides of an engine; what compiles them is loaded with the first one. */
import { functionOf } from '../base/checks.ts'
import type { OpenGuides } from '../decode/guide.ts'
import type { GuideWorkers } from './guide-worker.ts'
import type { GuideInstance } from './instance.ts'

/**
 * Makes the guides of an engine from a way to make instances of the grammar engine, for
 * `EngineOptions.guides`:
 *
 *     guides: async () => openGuides(() => instantiate(module))
 *
 * with `instantiate` of `foretoken/wasm/guide/guide.js` and `guide.wasm`, compiled. It is called
 * again if an instance traps. With `workers`, grammars that may take long are compiled in a worker,
 * so that answers in progress do not wait for them.
 */
export function openGuides(make: () => GuideInstance, workers?: GuideWorkers): OpenGuides {
  functionOf('make', make)
  if (workers !== undefined) functionOf('workers.spawn', workers?.spawn)
  return async (model) => (await import('./guides.ts')).guidesOf(make, model, workers)
}
