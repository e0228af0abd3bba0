/**
 * Manages the model of this tab: a stored model loads without asking, others are fetched on
 * request.
 */
import { useEffect, useRef, useState } from 'preact/hooks'
import { type Capability, gpuName } from '../capability.ts'
import type { TabEngine, Where } from '../engine.ts'
import { type Offered, offeredManifest, remember, remembered } from '../manifest.ts'
import { pageIsKept } from '../offline.ts'
import type { PageError } from '../page-error.ts'
import type { Manifest, ModelSource } from '../protocol.ts'
import { isKept } from '../store.ts'
import type { ModelState } from './model-state.ts'

export interface TabModel {
  readonly state: ModelState
  readonly where: Where
  /** The GPU's name, if there is one. */
  readonly gpu: string | undefined
  /** Whether the next visit needs no network for the page itself. */
  readonly pageKept: boolean
  /** Looks again for the model that comes with the page. */
  look(): void
  loadOffered(): void
  loadPicked(files: readonly File[]): void
  /** Loads a GGUF file from its address. */
  loadAddress(url: string): void
  move(where: Where): void
  forget(): void
}

export function useModel(engine: TabEngine, can: Capability, base: string): TabModel {
  const [state, setState] = useState<ModelState>({ kind: 'looking' })
  const [where, setWhere] = useState<Where>({ device: 'cpu', threads: can.threads })
  const [gpu, setGpu] = useState<string | undefined>(undefined)
  const [pageKept, setPageKept] = useState(false)
  const offered = useRef<Promise<Offered>>(new Promise(() => {}))
  const source = useRef<ModelSource | undefined>(undefined)

  const load = async (from: ModelSource, on = where) => {
    source.current = from
    setState({ kind: 'loading', progress: undefined })
    try {
      const ready = await engine.load(from, on, (progress) => setState({ kind: 'loading', progress }))
      if (ready.found) {
        remember(ready.found)
        source.current = offeredAt(ready.found, base)
      }
      setState({ kind: 'ready', ready })
      // Queried late, because the browser starts a process for it.
      setGpu(await gpuName())
    } catch (error) {
      setState({ kind: 'failed', message: (error as PageError).message, offered: await offered.current })
      setWhere({ ...on, device: 'cpu' })
    }
  }
  // A stored model is loaded without asking; fetching one needs a click.
  const look = async () => {
    setState({ kind: 'looking' })
    offered.current = offeredManifest(base)
    const last = remembered()
    if (last && can.simd && (await isKept(last.files))) return load(offeredAt(last, base))
    const found = await offered.current
    if (found.kind === 'offered' && can.simd && (await isKept(filesOf(found.manifest))))
      return load(offeredAt(found.manifest, base))
    setState({ kind: 'absent', offered: found })
  }
  useEffect(() => {
    void look()
    void pageIsKept(base).then(() => setPageKept(true))
  }, [])

  return {
    state,
    where,
    gpu,
    pageKept,
    look: () => void look(),
    loadOffered: () =>
      void offered.current.then((found) => {
        if (found.kind !== 'offered') return
        remember(undefined)
        void load(offeredAt(found.manifest, base))
      }),
    loadPicked: (files) => void load({ kind: 'picked', files }),
    loadAddress: (url) => void load({ kind: 'address', url }),
    move: (on) => {
      setWhere(on)
      if (state.kind === 'ready' && source.current) void load(source.current, on)
    },
    forget: () => {
      engine.forget()
      remember(undefined)
      void offered.current.then((found) => setState({ kind: 'absent', offered: found }))
    },
  }
}

/** Returns all files of a model, including its predictor. */
export function filesOf({ files, predictor }: Manifest) {
  return predictor ? [...files, predictor] : files
}

function offeredAt(manifest: Manifest, base: string): ModelSource {
  return { kind: 'offered', manifest, base: new URL('page/model.json', base).href }
}
