/** An engine whose answers fail in their middle, as when a worker is lost. */
import { type Answer, type Engine, ForetokenError, type GenerateEvent, type GenerateRequest } from '../../src/index.ts'

/** Returns the engine with answers that fail after `tokens` tokens. It shares everything else. */
export function failingAfter(tokens: number, engine: Engine): Engine {
  const submit = (request: GenerateRequest): Answer => failing(engine.submit(request), tokens)
  return new Proxy(engine, {
    get(target, name) {
      if (name === 'submit') return submit
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

function failing(answer: Answer, tokens: number): Answer {
  return {
    id: answer.id,
    get soFar() {
      return answer.soFar
    },
    result: () => answer.result(),
    cancel: () => answer.cancel(),
    [Symbol.asyncIterator]: () => until(answer, tokens),
  }
}

async function* until(answer: Answer, tokens: number): AsyncGenerator<GenerateEvent> {
  let count = 0
  for await (const event of answer) {
    if (event.type === 'token' && ++count > tokens) throw new ForetokenError('worker_lost', 'a worker was lost')
    yield event
  }
}
