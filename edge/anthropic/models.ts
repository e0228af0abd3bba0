/** Lists models as Anthropic's clients read them. */
import type { ListedModel } from '../models.ts'
import type { ModelInfo } from './answer-schemas.ts'

type Listed = Pick<ListedModel, 'id' | 'engine'>

/** Returns one model. Its limits are known only while it is loaded. */
export function modelInfoOf({ id, engine }: Listed): ModelInfo {
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
export function modelInfos(listed: readonly Listed[]) {
  return {
    data: listed.map(modelInfoOf),
    has_more: false,
    first_id: listed[0]?.id ?? null,
    last_id: listed.at(-1)?.id ?? null,
  }
}
