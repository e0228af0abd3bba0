/** The page: a chat that runs in this tab or asks an endpoint, and what prepacking does to a list of prompts. */
import { render } from 'preact'
import { registerWorker } from './offline.ts'
import { App } from './views/app.tsx'

render(<App base={document.baseURI} />, document.getElementById('app')!)
registerWorker(document.baseURI)
