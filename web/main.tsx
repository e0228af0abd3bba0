/** The page: a chat that runs in this tab or asks an endpoint, and what prepacking does to a list of prompts. */
import { render } from 'preact'
import { App } from './views/app.tsx'

render(<App base={document.baseURI} />, document.getElementById('app')!)

// Without a network, or on a second visit, the page comes from here. Where it is refused the page works all the same.
navigator.serviceWorker?.register(new URL('sw.js', document.baseURI), { updateViaCache: 'none' }).catch(() => {})
