/** Lists models as Anthropic's clients read them. */
import type { TextService } from '../../src/index.ts'
import type { ModelInfo } from './answer-schemas.ts'

/** Returns one model. Its limits are known only when it has been loaded. */
export function modelInfoOf(id: string, engine: Pick<TextService, 'context'> | undefined): ModelInfo {
  return {
    type: 'model',
    id,
    display_name: id,
    created_at: new Date(0).toISOString(),
    lifecycle: 'active',
    max_input_tokens: engine?.context ?? null,
    max_tokens: engine?.context ?? null,
    capabilities: null,
    line: null,
    deprecated_at: null,
    retires_at: null,
  }
}

/** Returns the list of all models, as one page. */
export function modelInfos(ids: readonly string[], engine: Pick<TextService, 'context'> | undefined) {
  return {
    data: ids.map((id) => modelInfoOf(id, engine)),
    has_more: false,
    first_id: ids[0] ?? null,
    last_id: ids.at(-1) ?? null,
  }
}
