/** The whole page: who answers, and the two things it shows. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { capability, gpuName } from '../capability.ts'
import { type PageError, TabEngine, type Where } from '../engine.ts'
import { offeredManifest, remember, remembered } from '../manifest.ts'
import type { Manifest, ModelSource } from '../protocol.ts'
import { isKept } from '../store.ts'
import { Chat } from './chat.tsx'
import { EndpointPanel, type EndpointSettings } from './endpoint-panel.tsx'
import { ModelPanel } from './model-panel.tsx'
import type { ModelState } from './model-state.ts'
import { PackingView } from './packing-view.tsx'
import { Tabs } from './tabs.tsx'

export function App({ base }: { readonly base: string }) {
  const can = useMemo(capability, [])
  const engine = useMemo(() => new TabEngine(base), [base])
  const [place, setPlace] = useState<'tab' | 'endpoint'>('tab')
  const [view, setView] = useState<'chat' | 'packing'>('chat')
  const [where, setWhere] = useState<Where>({ device: 'cpu', threads: can.threads })
  const [gpu, setGpu] = useState<string | undefined>(undefined)
  const [model, setModel] = useState<ModelState>({ kind: 'looking' })
  const manifest = useRef<Manifest | undefined>(undefined)
  const [endpoint, setEndpoint] = useState<EndpointSettings>({ url: new URL('v1', base).href, key: '', model: '' })

  const source = useRef<ModelSource | undefined>(undefined)
  const load = async (from: ModelSource, on = where) => {
    source.current = from
    setModel({ kind: 'loading', progress: undefined })
    try {
      const ready = await engine.load(from, on, (progress) => setModel({ kind: 'loading', progress }))
      if (ready.found) {
        remember(ready.found)
        source.current = sourceOf(ready.found)
      }
      setModel({ kind: 'ready', ready })
      // Asked for late: a browser starts a process for it.
      setGpu(await gpuName())
    } catch (error) {
      setModel({ kind: 'failed', message: (error as PageError).message, manifest: manifest.current })
      setWhere({ ...on, device: 'cpu' })
    }
  }
  const sourceOf = (own: Manifest): ModelSource => {
    return { kind: 'offered', manifest: own, base: new URL('page/model.json', base).href }
  }

  // What is here already needs no asking; what must be fetched does.
  useEffect(() => {
    void (async () => {
      const offered = offeredManifest(base)
      const last = remembered()
      const latest = last && can.simd && (await isKept(last.files)) ? last : undefined
      const own = await offered
      manifest.current = own
      if (latest) await load(sourceOf(latest))
      else if (own && can.simd && (await isKept([...own.files, ...(own.predictor ? [own.predictor] : [])])))
        await load(sourceOf(own))
      else setModel({ kind: 'absent', manifest: own })
    })()
  }, [])

  const ready = model.kind === 'ready' ? model.ready : undefined
  const change = (on: Where) => {
    setWhere(on)
    if (ready && source.current) void load(source.current, on)
  }

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
          <ModelPanel
            can={can}
            where={where}
            gpu={gpu}
            onWhere={change}
            model={model}
            onLoad={() => {
              remember(undefined)
              void load(sourceOf(manifest.current!))
            }}
            onPick={(files) => void load({ kind: 'picked', files })}
            onAddress={(url) => void load({ kind: 'address', url })}
            onForget={() => {
              engine.forget()
              remember(undefined)
              setModel({ kind: 'absent', manifest: manifest.current })
            }}
          />
        ) : (
          <EndpointPanel value={endpoint} onChange={setEndpoint} />
        )}
        {place === 'tab' && (
          <Tabs
            label="What to see"
            plain
            value={view}
            onChange={setView}
            options={[
              { value: 'chat', text: 'Chat' },
              { value: 'packing', text: 'Prepacking' },
            ]}
          />
        )}
        {/* Both stay, so that nothing is lost by looking at the other. */}
        <div hidden={place === 'tab' && view !== 'chat'}>
          <Chat place={place} engine={engine} ready={ready} endpoint={endpoint} />
        </div>
        {place === 'tab' && view === 'packing' && <PackingView engine={engine} ready={ready} />}
      </main>
      <footer>
        <p>
          {place === 'tab'
            ? 'What you write stays in this tab: the model runs on this machine. '
            : 'What you write goes to the endpoint, and the times hold the way there. '}
          An answer shows how long its first token took
          {place === 'tab' ? ', and from which token on its cache was exact.' : '.'}
        </p>
      </footer>
    </>
  )
}
