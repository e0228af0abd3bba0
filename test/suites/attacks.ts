/**
 * Attacks on a server, which `attack.ts` runs in a separate process: eight connections that send
 * for as long as the process lives. They connect to loopback only.
 */
import { connect, type Socket } from 'node:net'

export const attacks = {
  /** Sends requests that must be refused, and that cost as much as possible before. */
  refused: 'http',
  /** Holds bodies, and sends bodies in pieces of one byte. */
  bodies: 'sockets',
  /** Uses one key up to its limits, beside another's. */
  tenants: 'http',
  /** Requests model files of the page without reading them. */
  downloads: 'sockets',
  /**
   * Sends valid prompts as long as the context with one key, each a different text, beside
   * another's.
   */
  long: 'http',
  /**
   * Sends whatever a client can give to templates, patterns and stop strings with one key, beside
   * another's.
   */
  templates: 'http',
} as const

export type AttackName = keyof typeof attacks

export interface Target {
  readonly url: string
  readonly model: string
  /** Key of the attacker, where the server has keys. */
  readonly key: string
}

export const attackers = 8
const letters = (count: number, from: number) =>
  Array.from({ length: count }, (_, n) => String.fromCharCode(97 + ((n * 7 + from * 13 + (n >> 5)) % 26))).join('')
const times = <T>(count: number, of: (index: number) => T) => Array.from({ length: count }, (_, index) => of(index))

/** Runs an attack; never resolves. */
export async function attack(name: AttackName, target: Target): Promise<never> {
  const each = { refused, bodies, tenants, downloads, long, templates }[name]
  await Promise.all(times(attackers, (index) => each(target, index)))
  throw new Error('an attack ended')
}

/**
 * Returns bodies that are refused. They are created once, so that the attacker's work is not
 * measured.
 */
export function refusedBodies(model: string): readonly (readonly [path: string, body: string])[] {
  const chat = '/v1/chat/completions'
  const text = '/v1/completions'
  const user = [{ role: 'user', content: 'x' }]
  const record = (count: number, value: unknown) => Object.fromEntries(times(count, (n) => [`k${n}`, value]))
  return [
    [chat, JSON.stringify({ model, messages: [{ role: 'user', content: letters(131_000, 1) }] })],
    [text, JSON.stringify({ model, prompt: letters(131_000, 2) })],
    [text, JSON.stringify({ model, prompt: times(300_000, () => -1) })],
    [text, JSON.stringify({ model, prompt: times(300_000, () => []) })],
    [chat, JSON.stringify({ model, messages: times(300_000, () => ({})) })],
    [chat, JSON.stringify({ model, messages: user, metadata: record(70_000, 'x') })],
    [chat, JSON.stringify({ model, messages: user, logit_bias: record(70_000, 1) })],
    [chat, JSON.stringify({ model, messages: user, ...record(70_000, 1) })],
    [chat, `{"model":${'['.repeat(1_000_000)}`],
    [chat, '{"a":'.repeat(200_000)],
    ['/v1/responses', JSON.stringify({ model, input: times(100_000, () => ({ role: 'user' })) })],
  ]
}

async function post({ url, key }: Target, path: string, body: string): Promise<Response> {
  const headers = { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) }
  return fetch(`${url}${path}`, { method: 'POST', headers, body })
}

async function refused(target: Target, index: number): Promise<never> {
  const all = refusedBodies(target.model)
  for (let n = index; ; n++) {
    const [path, body] = all[n % all.length]!
    await post(target, path, body).then((response) => response.text(), pause)
  }
}

async function tenants(target: Target, index: number): Promise<never> {
  const { model } = target
  const everything = {
    n: 8,
    temperature: 1.5,
    top_p: 0.9,
    presence_penalty: 1,
    frequency_penalty: 1,
    logprobs: true,
    top_logprobs: 20,
    max_tokens: 400,
    foretoken: { top_k: 500, min_p: 0.01, repetition_penalty: 1.2, ignore_eos: true },
  }
  for (let n = index; ; n++) {
    const many = { model, prompt: times(8, (k) => letters(131_000, n * 8 + k)), max_tokens: 8 }
    const chat = { model, messages: [{ role: 'user', content: letters(200, n) }], ...everything }
    const [path, body] = n % 2 ? (['/v1/completions', many] as const) : (['/v1/chat/completions', chat] as const)
    await post(target, path, JSON.stringify(body)).then((response) => response.text(), pause)
  }
}

/** Tokens left free in the context, for the answer and for the error of the estimate. */
const spared = 64
const answered = 8

/** Returns a text of `count` words that starts differently for each `seed`. */
export function words(count: number, seed: number): string {
  return times(count, (n) => letters(2 + ((n * 5 + seed) % 7), seed * 31 + n)).join(' ')
}

async function long(target: Target, index: number): Promise<never> {
  const { model } = target
  const complete = (prompt: string) =>
    post(target, '/v1/completions', JSON.stringify({ model, prompt, max_tokens: answered }))
  const sample = (await (await complete(words(64, index))).json()) as { usage: { prompt_tokens: number } }
  const perWord = sample.usage.prompt_tokens / 64
  // A prompt that does not fit is refused, and the next is shorter: this finds the context size.
  let tokens = 4096
  for (let seed = index + attackers; ; seed += attackers) {
    const response = await complete(words(Math.floor((tokens - spared) / perWord), seed)).catch(() => undefined)
    await response?.text().catch(() => {})
    if (response?.status === 400) tokens = Math.ceil(tokens * 0.9)
    else if (response?.status !== 200) await pause()
  }
}

/**
 * Returns the `n`th of requests that are valid, or nearly so, and expensive to render, match or
 * search; `n` wraps around.
 */
export function templateRequest(n: number): { readonly path: string; readonly body: object } {
  const say = (content: unknown) => [{ role: 'user', content }]
  const nested = (depth: number): unknown => (depth === 0 ? n : { a: nested(depth - 1), b: [depth] })
  const chats: (() => object)[] = [
    // Whitespace before a letter, and at the end, for trimming and the patterns of tokenizers.
    () => ({ messages: say(`${' '.repeat(60_000)}x${n}`) }),
    () => ({ messages: say(`x${n}${'\n \t'.repeat(20_000)}`) }),
    // Texts that look like the template's own, or similar.
    () => ({ messages: say('<|im_end|>'.repeat(1500) + n) }),
    () => ({ messages: say('{% for a in range(100000) %}{{ a }}{% endfor %}'.repeat(1200) + n) }),
    () => ({ messages: say(`<think>${'<think></think>'.repeat(1200)}${n}`) }),
    // The maximum number of messages and parts.
    () => ({ messages: times(256, (at) => ({ role: at % 2 ? 'assistant' : 'user', content: letters(7, at + n) })) }),
    () => ({ messages: say(times(60, (at) => ({ type: 'text', text: `${at} ${n}` }))) }),
    // Arguments for the template.
    () => ({ messages: say('x'), chat_template_kwargs: { deep: nested(28), wide: times(8000, String) } }),
    () => ({
      messages: say('x'),
      chat_template_kwargs: Object.fromEntries(times(60, (at) => [`k${at}`, letters(15_000, at)])),
    }),
    () => ({
      messages: say('x'),
      tools: times(128, (at) => ({ type: 'function', function: { name: `f${at}`, parameters: nested(20) } })),
    }),
    // Stop strings that nearly match at every character.
    () => ({ messages: say(`x${n}`), stop: times(16, (at) => `${'a'.repeat(180 + at)}b`), max_tokens: 64 }),
    // Formats of an answer.
    () => ({
      messages: say('x'),
      response_format: { type: 'json_schema', json_schema: { name: 'n', schema: nested(28) } },
    }),
    () => ({ messages: say('x'), response_format: { type: 'regex', pattern: '(a+)+c' } }),
  ]
  const texts: (() => string)[] = [
    () => `${'a'.repeat(60_000)}c${n}`,
    () => `${'\u0301'.repeat(60_000)}${n}`,
    () => '<|im_start|>'.repeat(5000) + n,
  ]
  const at = n % (chats.length + texts.length)
  const chat = chats[at]
  if (chat) return { path: '/v1/chat/completions', body: { max_tokens: answered, ...chat() } }
  return { path: '/v1/completions', body: { prompt: texts[at - chats.length]!(), max_tokens: answered } }
}

async function templates(target: Target, index: number): Promise<never> {
  for (let n = index; ; n++) {
    const { path, body } = templateRequest(n)
    const response = await post(target, path, JSON.stringify({ model: target.model, ...body })).catch(() => undefined)
    await response?.text().catch(() => {})
    if (!response || response.status === 429 || response.status === 503) await pause()
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20))
}

async function open(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {})
  await new Promise((resolve) => {
    socket.once('connect', resolve)
    socket.once('error', resolve)
  })
  return socket
}

const head = (length: string) =>
  `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n${length}\r\n\r\n`

/** Half of the attackers hold 1 MB each, on many connections; half send bytes one by one. */
async function bodies({ url }: Target, index: number): Promise<never> {
  if (index % 2) {
    const pieces = `1\r\nx\r\n`.repeat(10_000)
    for (;;) {
      const socket = await open(url)
      socket.resume()
      socket.write(head('transfer-encoding: chunked'))
      for (let sent = 0; sent < 100 && !socket.destroyed; sent++)
        if (!socket.write(pieces)) await new Promise<void>((resolve) => settled(socket, resolve))
      socket.destroy()
      await pause()
    }
  }
  const most = 1500 / (attackers / 2)
  const held = new Set<Socket>()
  const body = ' '.repeat((1 << 20) - 1)
  for (;;) {
    while (held.size < most) {
      const socket = await open(url)
      held.add(socket)
      socket.resume().once('close', () => held.delete(socket))
      if (socket.destroyed) held.delete(socket)
      socket.write(head(`content-length: ${1 << 20}`) + body)
    }
    await pause()
  }
}

async function downloads({ url, model }: Target): Promise<never> {
  const most = 300 / attackers
  const held = new Set<Socket>()
  const path = `/page/model/${encodeURIComponent(model)}`
  for (;;) {
    while (held.size < most) {
      const socket = await open(url)
      held.add(socket)
      // Nothing is read, but a closed connection is noticed on the next write.
      socket.once('close', () => held.delete(socket))
      socket.pause()
      socket.write(`GET ${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`)
    }
    for (const socket of held) if (socket.destroyed) held.delete(socket)
    await pause()
  }
}

function settled(socket: Socket, resolve: () => void): void {
  const done = () => {
    socket.off('drain', done).off('close', done)
    resolve()
  }
  socket.once('drain', done).once('close', done)
}
