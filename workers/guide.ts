/**
 * A guide worker, in Node and in a browser. It compiles the grammars of answers, off the thread that
 * decodes.
 */
import { serveGuides } from '../src/guide/serve-guides.ts'
import type { FromGuideWorker, ToGuideWorker } from '../src/guide/worker-messages.ts'
import { createTokenizer } from '../src/tokens/tokenizer.ts'
import { goLast, openPort } from './port.ts'

const port = await openPort<ToGuideWorker, FromGuideWorker>()
await goLast()
const serve = serveGuides({
  send: (message, transfer) => port.send(message, transfer),
  load: (glue) => import(glue),
  tokenizerOf: createTokenizer,
})
port.receive((message) => void serve(message))
