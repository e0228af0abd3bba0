/**
 * Serves the routes of OpenAI's, Anthropic's and Ollama's APIs over one engine, on any host of Hono
 * (Workers, Node, Deno, Bun).
 *
 *     const app = createApp({ engine, config: { listen: 'loopback' } })
 *     export default { fetch: app.fetch }
 */
import { OpenAPIHono } from '@hono/zod-openapi'
import type { Fetch } from '../src/index.ts'
import { answer, consult } from './answer.ts'
import { countTokens, messages } from './anthropic/messages.ts'
import { compute } from './compute.ts'
import { configOf, type ServerConfig, severalTenants } from './config.ts'
import { chat } from './endpoints/chat.ts'
import { completions } from './endpoints/completions.ts'
import { embeddings } from './endpoints/embeddings.ts'
import { rerank } from './endpoints/rerank.ts'
import { responses } from './endpoints/responses.ts'
import type { EngineSource } from './engine-holder.ts'
import { Admission } from './guard/admission.ts'
import { Bodies } from './guard/bodies.ts'
import { Downloads } from './guard/downloads.ts'
import { Keys } from './guard/keys.ts'
import { Rate } from './guard/rate.ts'
import { health, listModels, metricsPage, oneModel, ready } from './info-routes.ts'
import { Metrics } from './metrics/metrics.ts'
import {
  failureResponse,
  guard,
  missingResponse,
  observe,
  onlyMethods,
  shareWithOrigins,
  wellFormed,
} from './middleware.ts'
import { Models, type Pool } from './models.ts'
import { chat as chatOfOllama, generate } from './ollama/answers.ts'
import { noEmbeddings, probe, running, show, tags, versionPage } from './ollama/catalogue.ts'
import { embed } from './ollama/embed.ts'
import { document } from './openapi.ts'
import type { LogLine } from './record.ts'
import { Routes } from './route/routes.ts'
import type { App, AppEnv, Server } from './server.ts'
import { type Page, pageRoutes } from './web-page.ts'

export interface AppOptions {
  /** The engine, or a function that loads it for the first request that needs it. */
  readonly engine?: EngineSource
  /** Several models in place of one engine: requests choose one by its name. Their owner closes the pool. */
  readonly models?: Pool
  /** The configuration, checked by `createApp`; by default a key is required: see `config.ts`. */
  readonly config?: ServerConfig
  /** The fetch function for requests to companions. Default: the platform's. */
  readonly fetch?: Fetch
  /** The page to serve at `/`, beside the API. Default: none. */
  readonly page?: Page
  /** Aborted to stop: `/readyz` answers 503 and no request begins, but running ones complete. */
  readonly drain?: AbortSignal
  /**
   * Called with one line per request when its last byte has been written. The line contains no
   * prompt and no key.
   */
  readonly onRequest?: (line: LogLine) => void
}

/** Creates the app. Throws `bad_argument` for an invalid config, and without an engine or models. */
export function createApp({ engine, models: pool, config: input, fetch, page, drain, onRequest }: AppOptions): App {
  const config = configOf(input)
  const server: Server = {
    config,
    models: new Models({ ...(engine && { engine }), ...(pool && { models: pool }) }, config, drain),
    routes: new Routes(config, fetch ?? ((input, init) => globalThis.fetch(input, init))),
    keys: new Keys(config),
    rate: new Rate(config.limits),
    bodies: new Bodies(config.limits, severalTenants(config)),
    admission: new Admission(config),
    downloads: new Downloads(config.limits),
    metrics: new Metrics(),
    drain,
    onRequest,
  }
  // Contacts the companions before the first request; a Worker may not fetch before it has one.
  for (const { engine } of server.models.loaded) server.routes.of(engine)
  const shown = show(server)
  const app = new OpenAPIHono<AppEnv>()
  app.use(observe(server), wellFormed, ...shareWithOrigins(config))
  app.onError(failureResponse)
  app.notFound(missingResponse)

  app.get('/healthz', health)
  app.get('/readyz', ready(server))
  if (page) pageRoutes(app, server, page)
  else app.get('/', (c) => c.text(probe))
  app.use('/*', guard(server))
  app.get('/metrics', metricsPage(server))
  app.get('/openapi.json', document(server.models.listed?.map(({ id }) => id)))
  app.get('/v1/models', listModels(server))
  app.get('/v1/models/:model{.+}', oneModel(server))
  app.post('/v1/chat/completions', (c) => answer(c, server, chat))
  app.post('/v1/completions', (c) => answer(c, server, completions))
  app.post('/v1/responses', (c) => answer(c, server, responses))
  app.post('/v1/embeddings', (c) => compute(c, server, embeddings))
  app.post('/v1/rerank', (c) => compute(c, server, rerank))
  app.post('/v1/messages', (c) => answer(c, server, messages))
  app.post('/v1/messages/count_tokens', (c) => consult(c, server, countTokens))
  app.post('/api/chat', (c) => answer(c, server, chatOfOllama))
  app.post('/api/generate', (c) => answer(c, server, generate))
  app.post('/api/show', (c) => consult(c, server, shown))
  app.post('/api/embed', (c) => compute(c, server, embed))
  app.post('/api/embeddings', noEmbeddings)
  app.get('/api/tags', tags(server))
  app.get('/api/ps', running(server))
  app.get('/api/version', versionPage)
  onlyMethods(app)
  return app
}
