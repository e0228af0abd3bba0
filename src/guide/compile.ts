/** Compiles a grammar. A failure in a schema of a larger grammar names what the schema belongs to. */
import type { ForetokenError } from '../base/errors.ts'
import { toolAt } from '../base/guide.ts'
import { guideFailure, isTrap } from './failure.ts'
import type { Grammar } from './grammar.ts'
import type { InstanceGrammar, InstanceVocabulary } from './instance.ts'
import { jsonInLark } from './rule-chains.ts'

/** Returns a compiled grammar. Throws ForetokenErrors for what the engine refuses, and traps as they are. */
export function compileGrammar(
  vocabulary: InstanceVocabulary,
  { named, kind, text, compact }: Pick<Grammar, 'named' | 'kind' | 'text' | 'compact'>,
): InstanceGrammar {
  try {
    return vocabulary.compile(kind, text, { compact })
  } catch (error) {
    if (isTrap(error)) throw error
    throw (kind === 'lark' && failureOfSchema(vocabulary, text)) || guideFailure(named, error)
  }
}

/** Returns the failure of the first schema in a Lark grammar that does not compile alone; undefined if all do. */
function failureOfSchema(vocabulary: InstanceVocabulary, text: string): ForetokenError | undefined {
  for (const [from, to] of jsonInLark(text)) {
    const tool = toolAt(text, from)
    if (tool === undefined) continue
    try {
      vocabulary.compile('json_schema', text.slice(from, to)).free()
    } catch (error) {
      if (isTrap(error)) throw error
      return guideFailure('lark', error, tool)
    }
  }
  return undefined
}
