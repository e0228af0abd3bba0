/** Describes the models as Ollama's lists do: `/api/tags`, `/api/ps`, `/api/show`, `/api/version`. */
import { planAnswer, type TextService } from '../../src/index.ts'
import type { Query } from '../answer.ts'
import { fillTokens } from '../fill-in-the-middle.ts'
import { purposeOfEngine } from '../purpose.ts'
import type { RequestContext, Server } from '../server.ts'
import { hostOf } from '../server.ts'
import { common } from './answers.ts'
import { tagged } from './names.ts'
import { type Details, type RunningResponse, type ShowResponse, showRequest, type TagsResponse } from './schemas.ts'

/** The version of Ollama whose API this is: clients refuse versions without what they need. */
const version = '0.12.11'

/** The answer that clients look for to find a server. */
export const probe = 'Ollama is running'

export function versionPage(): Response {
  return Response.json({ version })
}

/** Lists the names of all models. The config's names need no loaded engine. */
export function tags(server: Server) {
  return async (c: RequestContext): Promise<Response> => {
    const listed = await server.models.list(hostOf(c))
    const modified_at = sinceOf(server)
    const models = listed.map(({ id, engine }) => ({ ...listedOf(id, engine), modified_at }))
    return Response.json({ models } satisfies TagsResponse)
  }
}

/** Lists the models in memory. */
export function running(server: Server) {
  return (): Response => {
    const models = (server.models.listed ?? []).flatMap(({ id, engine, leavesInMs }) =>
      engine
        ? [
            {
              ...listedOf(id, engine),
              expires_at: leavesOn(leavesInMs),
              size_vram: 0,
              context_length: engine.context,
            },
          ]
        : [],
    )
    return Response.json({ models } satisfies RunningResponse)
  }
}

/** When a model leaves that stays until another needs its place, or for as long as the server runs. */
const never = '2100-01-01T00:00:00.000Z'

/** Returns the date in some milliseconds. Clients may ask for times that no date can hold. */
function leavesOn(ms = Number.POSITIVE_INFINITY): string {
  const date = Date.now() + ms
  return date < Date.parse(never) ? new Date(date).toISOString() : never
}

/** Returns the query of `POST /api/show`. */
export function show(server: Server): Query<typeof showRequest> {
  const { entries, anyType } = common
  return {
    entries,
    anyType,
    form: 'ollamaModel',
    schema: showRequest,
    async answer(_body, { engine }): Promise<ShowResponse> {
      const { archive, context } = engine
      const { config, tokenizer } = archive
      const family = config.architecture
      return {
        license: '',
        modelfile: '',
        parameters: '',
        template: tokenizer.chatTemplate ?? '',
        system: '',
        details: detailsOf(engine),
        model_info: {
          'general.architecture': family,
          'general.basename': archive.name,
          'general.parameter_count': parametersOf(engine),
          [`${family}.context_length`]: context,
          [`${family}.block_count`]: config.layers,
          [`${family}.embedding_length`]: config.hidden,
          [`${family}.feed_forward_length`]: config.intermediate,
          [`${family}.attention.head_count`]: config.heads,
          [`${family}.attention.head_count_kv`]: config.kvHeads,
          [`${family}.vocab_size`]: config.vocab,
        },
        capabilities: capabilitiesOf(engine),
        modified_at: sinceOf(server),
      }
    },
  }
}

/** When each server began, as a date: its model has not changed since. */
const since = new WeakMap<Server, string>()

function sinceOf(server: Server): string {
  const known = since.get(server) ?? new Date().toISOString()
  since.set(server, known)
  return known
}

/** Describes the model by one of its names; sizes are 0 until it is loaded. */
function listedOf(name: string, engine: TextService | undefined) {
  const full = tagged(name)
  return {
    name: full,
    model: full,
    size: engine ? sizeOf(engine) : 0,
    digest: engine?.archive.fingerprint ?? '',
    details: detailsOf(engine),
  }
}

function detailsOf(engine: TextService | undefined): Details {
  const family = engine?.archive.config.architecture ?? ''
  return {
    parent_model: '',
    format: '',
    family,
    families: family === '' ? [] : [family],
    parameter_size: engine ? shortCount(parametersOf(engine)) : '',
    quantization_level: engine ? usualType(engine) : '',
  }
}

function capabilitiesOf(engine: TextService): string[] {
  const purpose = purposeOfEngine(engine)
  if (purpose !== 'answers') return purpose === 'embeddings' ? ['embedding'] : []
  const thinks = /enable_thinking|<think>/.test(engine.archive.tokenizer.chatTemplate ?? '')
  return [
    'completion',
    ...(callsTools(engine) ? ['tools'] : []),
    ...(fillTokens(engine) ? ['insert'] : []),
    ...(thinks ? ['thinking'] : []),
  ]
}

/** Returns true if an answer that may call a tool can be planned. */
function callsTools(engine: TextService): boolean {
  try {
    return planAnswer(engine, { tools: [{ name: 'probe' }] }).format !== undefined
  } catch {
    return false
  }
}

function tensorsOf({ archive }: TextService) {
  return [...archive.tensors.values()]
}

/** Returns the bytes of the weights; those of a model in ONNX lie in its graph. */
function sizeOf(engine: TextService): number {
  return tensorsOf(engine).reduce((sum, { bytes }) => sum + bytes, 0) || engine.backend.memoryBytes()
}

function parametersOf(engine: TextService): number {
  return tensorsOf(engine).reduce((sum, { rows, cols }) => sum + rows * cols, 0)
}

/** Returns the type of most weights, such as `Q4_0`. */
function usualType(engine: TextService): string {
  const counts = new Map<string, number>()
  for (const { type, rows, cols } of tensorsOf(engine)) counts.set(type, (counts.get(type) ?? 0) + rows * cols)
  const [most] = [...counts].sort(([, a], [, b]) => b - a)
  return most?.[0].toUpperCase() ?? ''
}

/** Returns a number of parameters as Ollama writes it: `134.52M`, `1.2B`. */
function shortCount(count: number): string {
  const [unit, letter] = count >= 1e9 ? [1e9, 'B'] : count >= 1e6 ? [1e6, 'M'] : [1e3, 'K']
  return `${Math.round((count / unit) * 100) / 100}${letter}`
}
