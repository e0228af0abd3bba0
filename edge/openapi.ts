/** The OpenAPI document, made from the schemas of requests and answers. */
import { createRoute, OpenAPIHono } from '@hono/zod-openapi'
import * as anthropic from './anthropic/answer-schemas.ts'
import { countRequest, messagesRequest } from './anthropic/schemas.ts'
import * as ollama from './ollama/schemas.ts'
import { chatRequest, chatResponse } from './schemas/chat.ts'
import { errorBody, z } from './schemas/common.ts'
import { completionRequest, completionResponse } from './schemas/completions.ts'
import { embeddingsRequest, embeddingsResponse } from './schemas/embeddings.ts'
import { model, modelList } from './schemas/models.ts'
import { rerankRequest, rerankResponse } from './schemas/rerank.ts'
import { responsesRequest, responsesResponse } from './schemas/responses.ts'

const json = (schema: z.ZodType, description: string) => ({ description, content: { 'application/json': { schema } } })

/** The refusals of a route, whose bodies have the form of its API. */
function refusalsOf(form: z.ZodType) {
  const failure = (description: string) => json(form, description)
  return {
    400: failure('A field is wrong or not supported; the message names it.'),
    401: failure('The key is missing or unknown.'),
    403: failure('The host name, the origin or the key is not allowed here.'),
    404: failure('There is no such model.'),
    408: failure('The body did not arrive in time.'),
    413: failure('The body or the conversation is too large.'),
    415: failure('The body is not JSON, or its encoding is neither gzip nor deflate.'),
    429: failure('Too many requests from this key; retry-after says when to try again.'),
    503: failure(
      'The server is busy, or the model could not be loaded; retry-after says when to try again, unless the failure would come again.',
    ),
    504: failure('The answer was not completed in time.'),
  }
}

const refusals = refusalsOf(errorBody)
const { 503: overloaded, ...others } = refusalsOf(anthropic.errorResponse)
const broken = json(anthropic.errorResponse, 'The model cannot be loaded; the message says why.')
const refusalsOfMessages = { ...others, 500: broken, 529: overloaded }
const refusalsOfOllama = refusalsOf(ollama.errorResponse)

/** Refusals of requests without a body. */
function guarded({ 401: unknown, 403: forbidden, 429: often }: Pick<typeof refusals, 401 | 403 | 429>) {
  return { 401: unknown, 403: forbidden, 429: often }
}

const bearer = [{ bearer: [] as string[] }]

/** One event of a stream; `data` is a chunk or an event as JSON, or [DONE]. */
const streamEvent = z.object({ event: z.string().optional(), data: z.string() }).openapi('StreamEvent')

interface PostRoute {
  readonly path: string
  readonly summary: string
  readonly request: z.ZodType
  readonly response: z.ZodType
  /** The content type of streams, and what each event or line of them holds. */
  readonly stream?: { readonly type: string; readonly schema: z.ZodType }
  readonly refusals?: Readonly<Record<number, { readonly description: string }>>
}

function post({ path, summary, request, response, stream, refusals: refused = refusals }: PostRoute) {
  return createRoute({
    method: 'post',
    path,
    summary,
    security: bearer,
    request: { body: { required: true, content: { 'application/json': { schema: request } } } },
    responses: {
      200: {
        description: `${stream ? 'The answer, whole or as a stream.' : 'The answer.'} \`x-foretoken-ignored\` names the fields that were ignored.`,
        content: {
          'application/json': { schema: response },
          ...(stream && { [stream.type]: { schema: stream.schema } }),
        },
      },
      ...refused,
    },
  })
}

const events = { type: 'text/event-stream', schema: streamEvent }
const linesOf = (schema: z.ZodType) => ({ type: 'application/x-ndjson', schema })

const status = z.object({ status: z.string() }).openapi('Status')
const text = (type: string, description: string) => ({ description, content: { [type]: { schema: z.string() } } })

const lists = 'The list of models; with the header `anthropic-version`, in Anthropic’s form.'

function listing(path: string, summary: string, response: z.ZodType) {
  const { 503: busy } = refusalsOfOllama
  return createRoute({
    method: 'get',
    path,
    summary,
    security: bearer,
    responses: { 200: json(response, 'The list.'), ...guarded(refusalsOfOllama), 503: busy },
  })
}

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
    responses: { 200: text('text/plain', 'Exposition format 0.0.4.'), ...guarded(refusals) },
  }),
  createRoute({
    method: 'get',
    path: '/v1/models',
    summary: 'Lists the names of the model',
    security: bearer,
    responses: {
      200: json(z.union([modelList, anthropic.modelInfoList]), lists),
      ...guarded(refusals),
      503: refusals[503],
    },
  }),
  createRoute({
    method: 'get',
    path: '/v1/models/{model}',
    summary: 'Describes one model',
    security: bearer,
    request: { params: z.object({ model: z.string() }) },
    responses: {
      200: json(z.union([model, anthropic.modelInfo]), 'The model.'),
      ...guarded(refusals),
      404: refusals[404],
      503: refusals[503],
    },
  }),
  post({
    path: '/v1/chat/completions',
    summary: 'Answers a conversation',
    request: chatRequest,
    response: chatResponse,
    stream: events,
  }),
  post({
    path: '/v1/completions',
    summary: 'Continues a text',
    request: completionRequest,
    response: completionResponse,
    stream: events,
  }),
  post({
    path: '/v1/responses',
    summary: 'Answers a conversation, as a response',
    request: responsesRequest,
    response: responsesResponse,
    stream: events,
  }),
  post({
    path: '/v1/embeddings',
    summary: 'Makes a vector of each text',
    request: embeddingsRequest,
    response: embeddingsResponse,
  }),
  post({
    path: '/v1/rerank',
    summary: 'Ranks documents by a query',
    request: rerankRequest,
    response: rerankResponse,
  }),
  post({
    path: '/v1/messages',
    summary: 'Answers a conversation, by Anthropic’s contract',
    request: messagesRequest,
    response: anthropic.messagesResponse,
    stream: events,
    refusals: refusalsOfMessages,
  }),
  post({
    path: '/v1/messages/count_tokens',
    summary: 'Counts the tokens of a conversation',
    request: countRequest,
    response: anthropic.countResponse,
    refusals: refusalsOfMessages,
  }),
  post({
    path: '/api/chat',
    summary: 'Answers a conversation, by Ollama’s contract',
    request: ollama.chatRequest,
    response: ollama.chatResponse,
    stream: linesOf(ollama.chatLine),
    refusals: refusalsOfOllama,
  }),
  post({
    path: '/api/generate',
    summary: 'Answers or continues a text, by Ollama’s contract',
    request: ollama.textRequest,
    response: ollama.textResponse,
    stream: linesOf(ollama.textLine),
    refusals: refusalsOfOllama,
  }),
  post({
    path: '/api/embed',
    summary: 'Makes a vector of each text, by Ollama’s contract',
    request: ollama.embedRequest,
    response: ollama.embedResponse,
    refusals: refusalsOfOllama,
  }),
  post({
    path: '/api/embeddings',
    summary: 'Makes a vector of one text, by Ollama’s older contract: its length is not made 1',
    request: ollama.embedOneRequest,
    response: ollama.embedOneResponse,
    refusals: refusalsOfOllama,
  }),
  post({
    path: '/api/show',
    summary: 'Describes the model, by Ollama’s contract',
    request: ollama.showRequest,
    response: ollama.showResponse,
    refusals: refusalsOfOllama,
  }),
  listing('/api/tags', 'Lists the names of the model, by Ollama’s contract', ollama.tagsResponse),
  listing('/api/ps', 'Lists the model if it is in memory', ollama.runningResponse),
  listing('/api/version', 'Tells which version of Ollama’s API this is', ollama.versionResponse),
]

/** Returns a handler for `GET /openapi.json`; the document is made on the first call. */
export function document(models?: readonly string[]): () => Response {
  let json: string | undefined
  return () => {
    json ??= JSON.stringify(openApi(models))
    return new Response(json, { headers: { 'content-type': 'application/json' } })
  }
}

/** The requests that name a model as the config does. */
const named = [
  'ChatCompletionRequest',
  'CompletionRequest',
  'ResponseRequest',
  'EmbeddingRequest',
  'RerankRequest',
  'AnthropicMessagesRequest',
  'AnthropicCountRequest',
]

/**
 * Makes the document. Where the config lists `models`, they become the values of the field `model`.
 */
export function openApi(models?: readonly string[]) {
  const app = new OpenAPIHono()
  const { openAPIRegistry: registry } = app
  registry.registerComponent('securitySchemes', 'bearer', { type: 'http', scheme: 'bearer' })
  for (const route of routes) registry.registerPath(route)
  // Streams are described as events of text, which hold these.
  registry.register('AnthropicStreamEvent', anthropic.messagesEvent)
  const api = app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'foretoken',
      version: '1',
      description:
        'A server of OpenAI’s, Anthropic’s and Ollama’s APIs. Unknown fields are ignored and named in `x-foretoken-ignored`.',
    },
  })
  for (const name of named) {
    const schema = api.components?.schemas?.[name]
    const model = schema && 'properties' in schema ? schema.properties?.model : undefined
    if (models && model && !('$ref' in model)) model.enum = [...models]
  }
  return api
}
