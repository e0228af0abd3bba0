/** The routes that give answers, each with the body of a short one; `model` is added by the test. */
export const messages = [{ role: 'user', content: 'hello' }]

export const answering: readonly (readonly [path: string, body: object])[] = [
  ['/v1/chat/completions', { messages, max_tokens: 2 }],
  ['/v1/completions', { prompt: 'a', max_tokens: 2 }],
  ['/v1/responses', { input: 'a', max_output_tokens: 2 }],
  ['/v1/messages', { messages, max_tokens: 2 }],
  ['/api/chat', { messages, stream: false, options: { num_predict: 2 } }],
  ['/api/generate', { prompt: 'a', stream: false, options: { num_predict: 2 } }],
]
