/** The page: a chat that runs in this tab or at an endpoint, and a demonstration of prepacking. */
import { render } from 'preact'
import { registerWorker } from './offline.ts'
import { App } from './views/app.tsx'

render(<App base={document.baseURI} />, document.getElementById('app')!)
registerWorker(document.baseURI)
