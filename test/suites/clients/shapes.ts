/** Requests of programs that are not packages, according to their documentation. */
export interface Shape {
  readonly client: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Readonly<Record<string, unknown>>
  /** Fields that the server reports as ignored. */
  readonly ignored: string | null
  readonly stream: boolean
}

const turns = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'What is this?' },
  { role: 'assistant', content: 'A tree.' },
]

export const shapes: readonly Shape[] = [
  {
    client: 'Continue, a chat',
    path: '/v1/chat/completions',
    headers: { 'api-key': 'none', 'x-api-key': 'none' },
    body: {
      model: 'tiny',
      messages: [...turns, { role: 'user', content: [{ type: 'text', text: 'And that?' }] }],
      max_tokens: 4096,
      temperature: 0,
      top_p: null,
      frequency_penalty: null,
      presence_penalty: null,
      stream: true,
      stream_options: { include_usage: true },
      stop: ['```\n', '\n\n\n'],
      prediction: { type: 'content', content: 'x' },
    },
    ignored: null,
    stream: true,
  },
  {
    client: 'Continue, completion of a line',
    path: '/v1/completions',
    headers: { 'api-key': 'none' },
    body: {
      model: 'tiny',
      prompt: '<fim_prefix>def f(<fim_suffix>): pass<fim_middle>',
      max_tokens: 48,
      temperature: 0.01,
      stop: ['<fim_prefix>', '<fim_suffix>', '\n\n', '/src/'],
      stream: true,
      n_predict: 48,
      cache_prompt: true,
    },
    ignored: null,
    stream: true,
  },
  {
    client: 'Open WebUI',
    path: '/v1/chat/completions',
    headers: { 'x-openwebui-user-name': 'Ada', 'x-openwebui-user-id': '1', 'x-openwebui-chat-id': 'c' },
    body: {
      stream: true,
      model: 'tiny',
      messages: [...turns, { role: 'user', content: 'And that?' }],
      stream_options: { include_usage: true },
      temperature: 0.8,
      top_k: 40,
      top_p: 0.9,
      min_p: 0,
      repeat_penalty: 1.1,
      repeat_last_n: 64,
      mirostat: 0,
      num_ctx: 2048,
      max_tokens: 128,
      seed: 42,
      stop: [],
      logit_bias: {},
      reasoning_effort: null,
      function_calling: null,
      user: null,
      chat_id: 'c',
      session_id: 's',
    },
    ignored: 'repeat_last_n, mirostat, num_ctx, chat_id, session_id',
    stream: true,
  },
]
