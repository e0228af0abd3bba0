/** The OpenAPI document, made from the schemas of requests and answers. */
import { createRoute, OpenAPIHono } from '@hono/zod-openapi'
import { chatRequest, chatResponse } from './schemas/chat.ts'
import { errorBody, z } from './schemas/common.ts'
import { completionRequest, completionResponse } from './schemas/completions.ts'
import { embeddingsRequest, embeddingsResponse } from './schemas/embeddings.ts'
import { model, modelList } from './schemas/models.ts'
import { rerankRequest, rerankResponse } from './schemas/rerank.ts'
import { responsesRequest, responsesResponse } from './schemas/responses.ts'

const json = (schema: z.ZodType, description: string) => ({ description, content: { 'application/json': { schema } } })
const failure = (description: string) => json(errorBody, description)

const guarded = {
  401: failure('The key is missing or unknown.'),
  403: failure('The host name, the origin or the key is not allowed here.'),
  429: failure('Too many requests from this key; retry-after says when to try again.'),
}

const refusals = {
  ...guarded,
  400: failure('A field is wrong or not supported; `param` names it.'),
  404: failure('There is no such model.'),
  408: failure('The body did not arrive in time.'),
  413: failure('The body or the conversation is too large.'),
  415: failure('The body is not JSON, or its encoding is neither gzip nor deflate.'),
  503: failure('The server is busy, or the model could not be loaded; retry-after says when to try again.'),
  504: failure('The answer was not completed in time.'),
}

const bearer = [{ bearer: [] as string[] }]

/** One event of a stream; `data` is a chunk as JSON, or [DONE]. */
const streamEvent = z.object({ event: z.string().optional(), data: z.string() }).openapi('StreamEvent')

/** Describes a route for requests with a body. The answer of a `whole` one never streams. */
function post(
  path: string,
  summary: string,
  request: z.ZodType,
  response: z.ZodType,
  how: 'streams' | 'whole' = 'streams',
) {
  const ignored = '`x-foretoken-ignored` names the fields that were ignored.'
  return createRoute({
    method: 'post',
    path,
    summary,
    security: bearer,
    request: { body: { required: true, content: { 'application/json': { schema: request } } } },
    responses: {
      200: {
        description:
          how === 'whole'
            ? `The answer. ${ignored}`
            : `The answer, as server-sent events with \`stream: true\`. ${ignored}`,
        content: {
          'application/json': { schema: response },
          ...(how === 'streams' && { 'text/event-stream': { schema: streamEvent } }),
        },
      },
      ...refusals,
    },
  })
}

const status = z.object({ status: z.string() }).openapi('Status')
const text = (type: string, description: string) => ({ description, content: { [type]: { schema: z.string() } } })

const routes = [
  createRoute({
    method: 'get',
    path: '/healthz',
    summary: 'Tells whether the server is up',
    responses: { 200: json(status, 'The server is up.') },
  }),
  createRoute({
    method: 'get',
    path: '/readyz',
    summary: 'Tells whether the model is loaded',
    responses: {
      200: json(status, 'The model is loaded.'),
      503: json(status, 'It is not, or the server is stopping.'),
    },
  }),
  createRoute({
    method: 'get',
    path: '/metrics',
    summary: 'Returns counters and histograms for Prometheus',
    security: bearer,
    responses: { 200: text('text/plain', 'Exposition format 0.0.4.'), ...guarded },
  }),
  createRoute({
    method: 'get',
    path: '/v1/models',
    summary: 'Lists the names of the model',
    security: bearer,
    responses: { 200: json(modelList, 'The list of models.'), ...guarded, 503: refusals[503] },
  }),
  createRoute({
    method: 'get',
    path: '/v1/models/{model}',
    summary: 'Describes one model',
    security: bearer,
    request: { params: z.object({ model: z.string() }) },
    responses: { 200: json(model, 'The model.'), ...guarded, 404: refusals[404], 503: refusals[503] },
  }),
  post('/v1/chat/completions', 'Answers a conversation', chatRequest, chatResponse),
  post('/v1/completions', 'Continues a text', completionRequest, completionResponse),
  post('/v1/responses', 'Answers a conversation, as a response', responsesRequest, responsesResponse),
  post('/v1/embeddings', 'Makes a vector of each text', embeddingsRequest, embeddingsResponse, 'whole'),
  post('/v1/rerank', 'Ranks documents by a query', rerankRequest, rerankResponse, 'whole'),
]

/** Returns a handler for `GET /openapi.json`; the document is made on the first call. */
export function document(models?: readonly string[]): () => Response {
  let json: string | undefined
  return () => {
    json ??= JSON.stringify(openApi(models))
    return new Response(json, { headers: { 'content-type': 'application/json' } })
  }
}

/**
 * Makes the document. Where the config lists `models`, they become the values of the field `model`.
 */
export function openApi(models?: readonly string[]) {
  const app = new OpenAPIHono()
  const { openAPIRegistry: registry } = app
  registry.registerComponent('securitySchemes', 'bearer', { type: 'http', scheme: 'bearer' })
  for (const route of routes) registry.registerPath(route)
  const api = app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'foretoken',
      version: '1',
      description: 'An OpenAI-compatible server. Unknown fields are ignored and named in `x-foretoken-ignored`.',
    },
  })
  const requests = [
    'ChatCompletionRequest',
    'CompletionRequest',
    'ResponseRequest',
    'EmbeddingRequest',
    'RerankRequest',
  ]
  for (const name of requests) {
    const schema = api.components?.schemas?.[name]
    const model = schema && 'properties' in schema ? schema.properties?.model : undefined
    if (models && model && !('$ref' in model)) model.enum = [...models]
  }
  return api
}
