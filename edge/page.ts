/**
 * The page, and the model that it loads into a tab: static files beside the API.
 *
 *     GET /                    the page            GET /page/model.json         what the model is
 *     GET /sw.js, /page/...    its files           GET /page/model/NAME         a file of it, whole or a range
 *
 * The page is cross-origin isolated, so that its threads can share memory. It needs no key and tells nothing that a caller of the API would not know.
 */
import type { Context } from 'hono'
import type { ByteSource } from '../src/index.ts'
import { ApiError } from './errors.ts'
import { checkHost } from './guard/hosts.ts'
import type { App, Server } from './server.ts'

export interface PageFile {
  readonly name: string
  readonly bytes: number
  /** Hex. */
  readonly sha256: string
  readonly source: ByteSource
}

export interface PageModel {
  readonly name: string
  readonly files: readonly PageFile[]
  readonly predictor?: PageFile
}

export interface Page {
  /** By path: `index.html`, `sw.js`, `page/...`. */
  file(path: string): Promise<Uint8Array | undefined>
  /** Undefined where the model can't run in a tab. */
  model(): Promise<PageModel | undefined>
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
  // Bars have widths of their own.
  "style-src 'self' 'unsafe-inline'",
  // Endpoints and models that the visitor names.
  'connect-src *',
  "worker-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join('; ')

export function pageRoutes(app: App, { config }: Server, page: Page): void {
  const own = (c: Context) => checkHost(c.req.raw, config)
  app.get('/', async (c) => {
    own(c)
    return asset(await page.file('index.html'), 'index.html')
  })
  app.get('/sw.js', async (c) => {
    own(c)
    return asset(await page.file('sw.js'), 'sw.js')
  })
  app.get('/page/model.json', async (c) => {
    own(c)
    const model = await page.model()
    if (!model) throw missing('this model does not run in a tab')
    const told = ({ name, bytes, sha256 }: PageFile) => ({
      name,
      bytes,
      sha256,
      url: `model/${encodeURIComponent(name)}`,
    })
    const { name, files, predictor } = model
    const manifest = { name, files: files.map(told), ...(predictor && { predictor: told(predictor) }) }
    return Response.json(manifest, { headers: isolated })
  })
  app.get('/page/model/:name', async (c) => {
    own(c)
    const model = await page.model()
    const name = c.req.param('name')
    const file = [...(model?.files ?? []), ...(model?.predictor ? [model.predictor] : [])].find(
      (one) => one.name === name,
    )
    if (!file) throw missing(`the model has no file ${name}`)
    // A part of another file must not be gone on with.
    const unchanged = [undefined, tagOf(file)].includes(c.req.header('if-range'))
    return ranged(file, unchanged ? c.req.header('range') : undefined)
  })
  app.get('/page/:file', async (c) => {
    own(c)
    const path = `page/${c.req.param('file')}`
    return asset(await page.file(path), path)
  })
}

const isolated = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'same-origin',
}

function asset(bytes: Uint8Array | undefined, path: string): Response {
  if (!bytes) throw missing('there is no such file of the page')
  const hashed = /-[0-9a-f]{12}\.\w+$/.test(path)
  return new Response(bytes as Uint8Array<ArrayBuffer>, {
    headers: {
      ...isolated,
      'content-type': types[path.slice(path.lastIndexOf('.') + 1)] ?? 'application/octet-stream',
      'cache-control': hashed ? 'public, max-age=31536000, immutable' : 'no-cache',
      'content-security-policy': policy,
      'referrer-policy': 'no-referrer',
    },
  })
}

const pieceBytes = 1 << 20

/** A file, or the range `bytes=A-B` or `bytes=A-` of it. */
function ranged(file: PageFile, range: string | undefined): Response {
  const { bytes, source } = file
  const [, begin, last] = /^bytes=(\d{1,15})-(\d{0,15})$/.exec(range ?? '') ?? []
  const from = begin === undefined ? 0 : Number(begin)
  const end = last ? Math.min(bytes, Number(last) + 1) : bytes
  const headers = {
    ...isolated,
    'content-type': 'application/octet-stream',
    'accept-ranges': 'bytes',
    etag: tagOf(file),
  }
  if (from >= end)
    return new Response(null, { status: 416, headers: { ...headers, 'content-range': `bytes */${bytes}` } })
  let at = from
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(out) {
        const piece = new Uint8Array(Math.min(pieceBytes, end - at))
        try {
          await source.read(at, piece)
        } catch (error) {
          return out.error(error)
        }
        at += piece.length
        out.enqueue(piece)
        if (at === end) out.close()
      },
    },
    { highWaterMark: 0 },
  )
  const length = { 'content-length': String(end - from), 'cache-control': 'no-cache' }
  if (begin === undefined) return new Response(body, { headers: { ...headers, ...length } })
  const told = { ...headers, ...length, 'content-range': `bytes ${from}-${end - 1}/${bytes}` }
  return new Response(body, { status: 206, headers: told })
}

function tagOf({ sha256 }: PageFile): string {
  return `"${sha256}"`
}

function missing(message: string): ApiError {
  return new ApiError(404, message, { code: 'not_found' })
}
