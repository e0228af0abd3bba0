/**
 * A text worker, in Node and in a browser. It renders templates and tokenizes, off the thread that
 * serves requests.
 */
import type { FromTextWorker, ToTextWorker } from '../src/tokens/text-messages.ts'
import { serveText } from '../src/tokens/text-worker.ts'
import { openPort } from './port.ts'

const port = await openPort<ToTextWorker, FromTextWorker>()
port.receive(serveText((message) => port.send(message)))
