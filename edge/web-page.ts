/**
 * Serves the page and the models that it loads into a tab, as static files beside the API.
 *
 *     GET /                    the page            GET /page/model.json         the manifest of the models
 *     GET /sw.js, /page/...    its files           GET /page/model/NAME         a file of one, whole or a range
 *
 * The page is cross-origin isolated, so that its threads can share memory. It needs no key and
 * reveals nothing that a caller of the API would not know.
 */
import type { Context } from 'hono'
import type { ByteSource } from '../src/index.ts'
import { ApiError } from './errors.ts'
import { checkHost } from './guard/hosts.ts'
import type { App, Server } from './server.ts'

export interface PageFile {
  readonly name: string
  readonly bytes: number
  /** SHA-256 in hex. */
  readonly sha256: string
  readonly source: ByteSource
}

export interface PageModel {
  readonly name: string
  readonly files: readonly PageFile[]
  readonly predictor?: PageFile
  readonly licence?: string
  /** The address of the licence. */
  readonly terms?: string
  /** The memory that the model takes, in bytes. */
  readonly memory?: number
}

export interface Page {
  /**
   * Returns a file of the page by its path: `index.html`, `sw.js`, `page/...`; undefined if there
   * is none.
   */
  file(path: string): Promise<Uint8Array | undefined>
  /** Returns the models that run in a tab; the first is the default. Without it, `model` is the only one. */
  models?(): Promise<readonly PageModel[]>
  /** Returns the model; undefined if it can't run in a tab. */
  model?(): Promise<PageModel | undefined>
}

async function modelsOf(page: Page): Promise<readonly PageModel[]> {
  if (page.models) return page.models()
  const model = await page.model?.()
  return model ? [model] : []
}

const types: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
  wasm: 'application/wasm',
}

const policy = [
  "default-src 'self'",
  "script-src 'self' 'wasm-unsafe-eval'",
  // The bars of charts set their width in a style attribute.
  "style-src 'self' 'unsafe-inline'",
  // The visitor may name any endpoint and model.
  'connect-src *',
  "worker-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join('; ')

export function pageRoutes(app: App, { config, downloads }: Server, page: Page): void {
  const check = (c: Context) => checkHost(c.req.raw, config)
  const assets = new Assets(page)
  app.get('/', async (c) => {
    check(c)
    return assets.answer('index.html')
  })
  app.get('/sw.js', async (c) => {
    check(c)
    return assets.answer('sw.js')
  })
  app.get('/page/model.json', async (c) => {
    check(c)
    const models = await modelsOf(page)
    if (models.length === 0) throw missing('this model does not run in a tab')
    const addresses = addressesOf(models)
    const entryOf = (file: PageFile) => {
      const { name, bytes, sha256 } = file
      return { name, bytes, sha256, url: `model/${encodeURIComponent(addresses.get(file) ?? name)}` }
    }
    const listed = models.map(({ files, predictor, ...about }) => ({
      ...about,
      files: files.map(entryOf),
      ...(predictor && { predictor: entryOf(predictor) }),
    }))
    // A page that was built for one model reads such a manifest only.
    return Response.json(listed.length === 1 ? listed[0] : { models: listed }, { headers: isolated })
  })
  app.get('/page/model/:name', async (c) => {
    check(c)
    const name = c.req.param('name')
    const [file] = [...addressesOf(await modelsOf(page))].find(([, address]) => address === name) ?? []
    if (!file) throw missing(`no model has a file ${name}`)
    // A download must not continue with a part of another file.
    const unchanged = [undefined, tagOf(file)].includes(c.req.header('if-range'))
    const { status, headers, from, end } = ranged(file, unchanged ? c.req.header('range') : undefined)
    // A HEAD request reads no body and would hold its download slot.
    const headersOnly = status === 416 || c.req.raw.method === 'HEAD'
    return new Response(headersOnly ? null : downloads.body(file.source, from, end), { status, headers })
  })
  app.get('/page/:file', async (c) => {
    check(c)
    return assets.answer(`page/${c.req.param('file')}`)
  })
}

/**
 * Returns the address of each file of some models: its name, or its SHA-256 if another file has that
 * name.
 */
function addressesOf(models: readonly PageModel[]): ReadonlyMap<PageFile, string> {
  const files = models.flatMap((model) => [...model.files, ...(model.predictor ? [model.predictor] : [])])
  const named = new Map<string, Set<string>>()
  for (const { name, sha256 } of files) named.set(name, (named.get(name) ?? new Set()).add(sha256))
  return new Map(files.map((file) => [file, named.get(file.name)?.size === 1 ? file.name : file.sha256]))
}

const isolated = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'same-origin',
}

/**
 * The page's own files. Files whose names contain their hash are read once, so that all clients
 * share the bytes.
 */
class Assets {
  readonly #page: Page
  /** Bounded by the number of the page's files: only existing ones are kept. */
  readonly #kept = new Map<string, Uint8Array<ArrayBuffer>>()

  constructor(page: Page) {
    this.#page = page
  }

  async answer(path: string): Promise<Response> {
    const hashed = /-(?:[0-9a-f]{12}|[0-9A-Z]{8})\.\w+$/.test(path)
    const bytes = this.#kept.get(path) ?? ((await this.#page.file(path)) as Uint8Array<ArrayBuffer> | undefined)
    if (!bytes) throw missing('there is no such file of the page')
    if (hashed) this.#kept.set(path, bytes)
    return new Response(bytes, {
      headers: {
        ...isolated,
        'content-type': types[path.slice(path.lastIndexOf('.') + 1)] ?? 'application/octet-stream',
        'cache-control': hashed ? 'public, max-age=31536000, immutable' : 'no-cache',
        'content-security-policy': policy,
        'referrer-policy': 'no-referrer',
      },
    })
  }
}

/**
 * Returns the status, headers and byte range of an answer: a whole file, or its range `bytes=A-B`
 * or `bytes=A-`.
 */
function ranged(file: PageFile, range: string | undefined) {
  const { bytes } = file
  const [, begin, last] = /^bytes=(\d{1,15})-(\d{0,15})$/.exec(range ?? '') ?? []
  const from = begin === undefined ? 0 : Number(begin)
  const end = last ? Math.min(bytes, Number(last) + 1) : bytes
  const headers: Record<string, string> = {
    ...isolated,
    'content-type': 'application/octet-stream',
    'accept-ranges': 'bytes',
    etag: tagOf(file),
  }
  if (from >= end) return { status: 416, headers: { ...headers, 'content-range': `bytes */${bytes}` }, from, end }
  Object.assign(headers, { 'content-length': String(end - from), 'cache-control': 'no-cache' })
  if (begin === undefined) return { status: 200, headers, from, end }
  return { status: 206, headers: { ...headers, 'content-range': `bytes ${from}-${end - 1}/${bytes}` }, from, end }
}

function tagOf({ sha256 }: PageFile): string {
  return `"${sha256}"`
}

function missing(message: string): ApiError {
  return new ApiError(404, message, { code: 'not_found' })
}
