/** The whole page: the choice of who answers, and its two views. */
import { useMemo, useState } from 'preact/hooks'
import { capability } from '../capability.ts'
import { type EndpointSettings, hostOf, placeOf } from '../endpoint-settings.ts'
import { TabEngine } from '../engine.ts'
import { Chat } from './chat.tsx'
import { EndpointPanel } from './endpoint-panel.tsx'
import { ModelPanel } from './model-panel.tsx'
import { inMemory } from './model-state.ts'
import { Tabs } from './tabs.tsx'
import { useLater } from './use-later.ts'
import { useModel } from './use-model.ts'

export function App({ base }: { readonly base: string }) {
  const can = useMemo(capability, [])
  const engine = useMemo(() => new TabEngine(base), [base])
  const model = useModel(engine, can, base)
  const [place, setPlace] = useState<'tab' | 'endpoint'>('tab')
  const [view, setView] = useState<'chat' | 'packing'>('chat')
  const [endpoint, setEndpoint] = useState<EndpointSettings>({
    address: new URL('v1', base).href,
    keys: {},
    model: '',
  })
  const ready = inMemory(model.state)
  const packing = useLater(() => import('./packing-view.tsx'), view === 'packing')
  const PackingView = packing.part?.PackingView

  return (
    <>
      <header class="top">
        <h1>
          <img src="page/icon.svg" alt="" width="28" height="28" /> foretoken
        </h1>
        <p class="claim">The first token, sooner.</p>
        <Tabs
          label="Who answers"
          value={place}
          onChange={setPlace}
          options={[
            { value: 'tab', text: 'This tab' },
            { value: 'endpoint', text: 'An endpoint' },
          ]}
        />
      </header>
      <main>
        {place === 'tab' ? (
          <ModelPanel can={can} model={model} />
        ) : (
          <EndpointPanel
            value={endpoint}
            onChange={setEndpoint}
            onModel={(at, chosen) =>
              setEndpoint((now) => (placeOf(now.address) === at ? { ...now, model: chosen } : now))
            }
          />
        )}
        {place === 'tab' && (
          <Tabs
            label="View"
            plain
            value={view}
            onChange={setView}
            options={[
              { value: 'chat', text: 'Chat' },
              { value: 'packing', text: 'Prepacking' },
            ]}
          />
        )}
        {/* The chat stays mounted, so that switching views loses nothing. */}
        <div hidden={place === 'tab' && view !== 'chat'}>
          <Chat place={place} engine={engine} ready={ready} endpoint={endpoint} />
        </div>
        {place === 'tab' && view === 'packing' && (
          <>
            {PackingView && <PackingView engine={engine} ready={ready} />}
            {packing.failed && (
              <p class="failed" role="alert">
                {packing.failed}
              </p>
            )}
          </>
        )}
      </main>
      <footer>
        <p>
          {place === 'tab'
            ? 'What you write stays in this tab: the model runs on this machine. '
            : `What you write here goes to ${hostOf(endpoint.address) || 'the endpoint'}; what you wrote in the tab, or to another endpoint, does not. Times include the network. `}
          Each answer shows how long its first token took
          {place === 'tab' ? ', and from which token its cache was exact.' : '.'}
        </p>
      </footer>
    </>
  )
}
