/** Checks a load of a model, and loads nothing: for a host that loads it later. */
import type { ModelFiles } from '../base/bytes.ts'
import { withArguments } from '../base/checks.ts'
import { asForetokenError } from '../base/errors.ts'
import { LoadedModel } from '../model/forward.ts'
import { readPredictor } from '../predict/file.ts'
import { inputsOf } from '../predict/header.ts'
import { type Opened, openParts } from './load.ts'
import { checkedOptions, type EngineOptions } from './options.ts'

/**
 * Does all of `Engine.load` that comes before its weights are read, and resolves with what it found. The
 * backend is closed. Throws what `Engine.load` throws.
 */
export async function checkLoad(files: ModelFiles, options: EngineOptions): Promise<Omit<Opened, 'backend'>> {
  const checked = withArguments('Engine.load', () => checkedOptions(options))
  try {
    const { backend, ...found } = await openParts(files, checked)
    try {
      const file = checked.predictor && (await readPredictor(checked.predictor))
      const inputs = file ? inputsOf(file.header) : 0
      LoadedModel.expect(backend, found.archive, { ...found.settings.model, inputs })
      return found
    } finally {
      await backend.close()
    }
  } catch (error) {
    throw asForetokenError(error)
  }
}
