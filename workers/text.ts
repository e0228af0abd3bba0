/** A text worker, in Node and in a browser: templates and tokenizing, away from who serves requests. */
import type { FromTextWorker, ToTextWorker } from '../src/tokens/text-messages.ts'
import { serveText } from '../src/tokens/text-worker.ts'
import { openPort } from './port.ts'

const port = await openPort<ToTextWorker, FromTextWorker>()
port.receive(serveText((message) => port.send(message)))
