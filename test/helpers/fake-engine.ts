/** An engine that computes nothing, for tests of what owns engines. */
import type { TextService } from '../../src/index.ts'

export interface FakeEngine extends TextService {
  readonly closes: number
}

/** `bytes` is the memory that it says it takes; `onClose` is called by `close`, which waits for it. */
export function fakeEngine(name: string, bytes = 0, onClose: () => unknown = () => {}): FakeEngine {
  let closes = 0
  const refuse = () => {
    throw new Error('a fake engine answers nothing')
  }
  const engine = {
    archive: { name },
    tokenizer: {},
    context: 256,
    loadMs: 1,
    prediction: undefined,
    backend: { build: 'fake', memoryBytes: () => bytes },
    stats: {},
    submit: refuse,
    promptIds: refuse,
    get closes() {
      return closes
    },
    async close() {
      closes++
      await onClose()
    },
  }
  return engine as unknown as FakeEngine
}
