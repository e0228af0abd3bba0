/** The OpenAPI document: the schemas that requests are checked by, and those that answers follow. */
import { createRoute, OpenAPIHono } from '@hono/zod-openapi'
import { chatRequest, chatResponse } from './schemas/chat.ts'
import { errorBody, z } from './schemas/common.ts'
import { completionRequest, completionResponse } from './schemas/completions.ts'
import { model, modelList } from './schemas/models.ts'
import { responsesRequest, responsesResponse } from './schemas/responses.ts'

const json = (schema: z.ZodType, description: string) => ({ description, content: { 'application/json': { schema } } })
const failure = (description: string) => json(errorBody, description)

const guarded = {
  401: failure('No key, or an unknown one.'),
  403: failure('A host name, an origin or a key that may not do this.'),
  429: failure('Too many requests of this key; retry-after says when to come back.'),
}

const refusals = {
  ...guarded,
  400: failure('A field is wrong or not supported; `param` names it.'),
  404: failure('No such model.'),
  408: failure('The body did not arrive in time.'),
  413: failure('The body or the conversation is too large.'),
  415: failure('The body is not JSON, or compressed in another way than gzip and deflate.'),
  503: failure('Too much is being done, or the model could not be loaded; retry-after says when to come back.'),
  504: failure('The answer was not complete in time.'),
}

const bearer = [{ bearer: [] as string[] }]

/** Each event of a stream; `data` is a chunk as JSON, or [DONE]. */
const streamEvent = z.object({ event: z.string().optional(), data: z.string() }).openapi('StreamEvent')

function post(path: string, summary: string, request: z.ZodType, response: z.ZodType) {
  return createRoute({
    method: 'post',
    path,
    summary,
    security: bearer,
    request: { body: { required: true, content: { 'application/json': { schema: request } } } },
    responses: {
      200: {
        description:
          'The answer; as server-sent events with `stream: true`. `x-foretoken-ignored` names fields that were read for nothing.',
        content: { 'application/json': { schema: response }, 'text/event-stream': { schema: streamEvent } },
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
    summary: 'Whether the server is there',
    responses: { 200: json(status, 'It is.') },
  }),
  createRoute({
    method: 'get',
    path: '/readyz',
    summary: 'Whether the model is loaded',
    responses: { 200: json(status, 'It is.'), 503: json(status, 'It is not, or the server is stopping.') },
  }),
  createRoute({
    method: 'get',
    path: '/metrics',
    summary: 'Counters and histograms for Prometheus',
    security: bearer,
    responses: { 200: text('text/plain', 'Exposition format 0.0.4.'), ...guarded },
  }),
  createRoute({
    method: 'get',
    path: '/v1/models',
    summary: 'The names that the model answers to',
    security: bearer,
    responses: { 200: json(modelList, 'The list.'), ...guarded, 503: refusals[503] },
  }),
  createRoute({
    method: 'get',
    path: '/v1/models/{model}',
    summary: 'One of them',
    security: bearer,
    request: { params: z.object({ model: z.string() }) },
    responses: { 200: json(model, 'It is here.'), ...guarded, 404: refusals[404], 503: refusals[503] },
  }),
  post('/v1/chat/completions', 'Answers a conversation', chatRequest, chatResponse),
  post('/v1/completions', 'Continues a text', completionRequest, completionResponse),
  post('/v1/responses', 'Answers a conversation, as a response', responsesRequest, responsesResponse),
]

/** Made at the first call. */
export function document(models?: readonly string[]): () => Response {
  let made: string | undefined
  return () => {
    made ??= JSON.stringify(openApi(models))
    return new Response(made, { headers: { 'content-type': 'application/json' } })
  }
}

/** Where the config names the models, requests may name only those. */
export function openApi(models?: readonly string[]) {
  const app = new OpenAPIHono()
  const { openAPIRegistry: registry } = app
  registry.registerComponent('securitySchemes', 'bearer', { type: 'http', scheme: 'bearer' })
  for (const route of routes) registry.registerPath(route)
  const made = app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'foretoken',
      version: '1',
      description:
        'An OpenAI-compatible server. Fields it does not know are ignored, and named in `x-foretoken-ignored`.',
    },
  })
  for (const name of ['ChatCompletionRequest', 'CompletionRequest', 'ResponseRequest']) {
    const schema = made.components?.schemas?.[name]
    const model = schema && 'properties' in schema ? schema.properties?.model : undefined
    if (models && model && !('$ref' in model)) model.enum = [...models]
  }
  return made
}
