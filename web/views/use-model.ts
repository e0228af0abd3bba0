/**
 * Manages the model of this tab: a stored model loads without asking, others are fetched on
 * request. One model is in memory at a time.
 */
import { useEffect, useRef, useState } from 'preact/hooks'
import { type Capability, gpuName } from '../capability.ts'
import type { Ready, TabEngine, Where } from '../engine.ts'
import { choose, forgetModel, know, knownModels, lastChosen } from '../known-models.ts'
import { filesOf, isSame, type Offered, offeredManifest } from '../manifest.ts'
import { pageIsKept } from '../offline.ts'
import type { PageError } from '../page-error.ts'
import type { Manifest, ModelSource } from '../protocol.ts'
import { isKept } from '../store.ts'
import { inMemory, type MenuEntry, type ModelState } from './model-state.ts'

export interface TabModel {
  readonly state: ModelState
  readonly where: Where
  /** The GPU's name, if there is one. */
  readonly gpu: string | undefined
  /** Whether the next visit needs no network for the page itself. */
  readonly pageKept: boolean
  /** The models that can be chosen: those that the page offers, then others that are stored here. */
  readonly menu: readonly MenuEntry[]
  /** The model in memory, if it can be chosen again. */
  readonly current: Manifest | undefined
  /** Looks again for the models that come with the page. */
  look(): void
  /** Looks again at what is stored: other tabs may have changed it. */
  refresh(): void
  choose(manifest: Manifest): void
  loadPicked(files: readonly File[]): void
  /** Loads a GGUF file from its address. */
  loadAddress(url: string): void
  /** Stops loading; the model before it stays, or is loaded again. */
  cancel(): void
  move(where: Where): void
  /** Removes the stored files of a model, and the model from memory if it is there. */
  forget(manifest: Manifest): void
}

/** A model in memory, or the last one that was. */
interface Loaded {
  readonly source: ModelSource
  readonly where: Where
  readonly ready: Ready
}

export function useModel(engine: TabEngine, can: Capability, base: string): TabModel {
  const [state, setState] = useState<ModelState>({ kind: 'looking' })
  const [where, setWhere] = useState<Where>({ device: 'cpu', threads: can.threads })
  const [gpu, setGpu] = useState<string | undefined>(undefined)
  const [pageKept, setPageKept] = useState(false)
  const [menu, setMenu] = useState<readonly MenuEntry[]>([])
  const offered = useRef<Promise<Offered>>(new Promise(() => {}))
  /** What `offered` last resolved with. */
  const lastOffered = useRef<Offered>({ kind: 'none' })
  /** Where a load that fails goes back to. */
  const home = useRef<Loaded | undefined>(undefined)
  /** Whether `home` is in memory. */
  const isHome = useRef(false)
  const loading = useRef<AbortController | undefined>(undefined)

  const refresh = async () => {
    const found = await offered.current
    const comes = found.kind === 'offered' ? found.models : []
    const others = knownModels().filter((one) => !comes.some((other) => isSame(one, other)))
    const entries = await Promise.all(
      [...comes, ...others].map(async (manifest, at) => {
        return { manifest, offered: at < comes.length, kept: await isKept(filesOf(manifest)) }
      }),
    )
    for (const { manifest, kept } of entries) if (!kept) forgetModel(manifest)
    setMenu(entries.filter((one) => one.offered || one.kept))
  }

  engine.onUnloaded = (failure) => {
    isHome.current = false
    setState((old) => {
      if (old.kind === 'loading') return { ...old, before: undefined }
      return old.kind === 'ready' && failure ? { kind: 'failed', message: failure, offered: lastOffered.current } : old
    })
  }

  /** Loads a model. `failed` says why, if it is the one before. */
  const load = async (from: ModelSource, on = where, failed?: string) => {
    loading.current?.abort()
    const control = new AbortController()
    loading.current = control
    /** A newer load shows its own state. */
    const show = (next: ModelState) => loading.current === control && setState(next)
    const name = nameOf(from)
    const progressed = (progress?: Extract<ModelState, { kind: 'loading' }>['progress']) =>
      show({ kind: 'loading', name, progress, failed, before: isHome.current ? home.current?.ready : undefined })
    progressed()
    try {
      const ready = await engine.load(from, on, progressed, control.signal)
      const source: ModelSource = ready.found ? { kind: 'offered', manifest: ready.found, base } : from
      home.current = { source, where: on, ready }
      isHome.current = true
      void remember(source, ready)
      if (loading.current !== control) {
        // The next load keeps this one until it has been fetched.
        setState((old) => (old.kind === 'loading' && isHome.current ? { ...old, before: ready } : old))
        return
      }
      show({ kind: 'ready', ready, failed })
      // Queried late, because the browser starts a process for it.
      setGpu(await gpuName())
    } catch (error) {
      if (loading.current !== control) return
      const cancelled = control.signal.aborted
      const message = cancelled ? undefined : (error as PageError).message
      const before = home.current
      setWhere(before?.where ?? { ...on, device: 'cpu' })
      if (before && isHome.current) return show({ kind: 'ready', ready: before.ready, failed: message })
      // Once: the model before may be gone, too.
      if (before && failed === undefined) return load(before.source, before.where, message ?? `${name} was not loaded.`)
      home.current = undefined
      const found = await offered.current
      const told = [failed, message].filter(Boolean).join(' Then: ')
      show(told ? { kind: 'failed', message: told, offered: found } : { kind: 'absent', offered: found })
    } finally {
      void refresh()
    }
  }

  const remember = async (source: ModelSource, { kept }: Ready) => {
    if (source.kind !== 'offered') return
    const { manifest } = source
    if (kept === true) know(manifest)
    const found = await offered.current
    choose({ manifest, offered: found.kind === 'offered' && found.models.some((one) => isSame(one, manifest)) })
  }

  // A stored model is loaded without asking; fetching one needs a click.
  const look = async () => {
    setState({ kind: 'looking' })
    offered.current = offeredManifest(base)
    void offered.current.then((now) => (lastOffered.current = now))
    void refresh()
    const last = lastChosen()
    if (last && !last.offered && can.simd && (await isKept(filesOf(last.manifest))))
      return load(offeredAt(last.manifest, base))
    const found = await offered.current
    const models = found.kind === 'offered' ? found.models : []
    const wanted = models.find((one) => last && isSame(one, last.manifest)) ?? models[0]
    if (wanted && can.simd && (await isKept(filesOf(wanted)))) return load(offeredAt(wanted, base))
    setState({ kind: 'absent', offered: found })
  }
  useEffect(() => {
    void look()
    void pageIsKept(base).then(() => setPageKept(true))
  }, [])

  const { source, ready } = (inMemory(state) && home.current) ?? {}
  return {
    state,
    where,
    gpu,
    pageKept,
    menu,
    current: source?.kind === 'offered' && inMemory(state) === ready ? source.manifest : undefined,
    look: () => void look(),
    refresh: () => void refresh(),
    choose: (manifest) => void load(offeredAt(manifest, base)),
    loadPicked: (files) => void load({ kind: 'picked', files }),
    loadAddress: (url) => void load({ kind: 'address', url }),
    cancel: () => loading.current?.abort(),
    move: (on) => {
      setWhere(on)
      if (state.kind === 'ready' && home.current) void load(home.current.source, on)
    },
    forget: (manifest) => {
      const isCurrent = source?.kind === 'offered' && isSame(source.manifest, manifest)
      const shared = new Set(knownModels().flatMap((one) => (isSame(one, manifest) ? [] : filesOf(one).map(hashOf))))
      forgetModel(manifest)
      if (isCurrent) {
        home.current = undefined
        choose(undefined)
        void offered.current.then((found) => setState({ kind: 'absent', offered: found }))
      }
      const hashes = filesOf(manifest).map(hashOf)
      const removed = engine.forget(
        hashes.filter((hash) => !shared.has(hash)),
        isCurrent,
      )
      void removed.catch(() => {}).then(refresh)
    },
  }
}

function hashOf({ sha256 }: { readonly sha256: string }): string {
  return sha256
}

function nameOf(source: ModelSource): string {
  if (source.kind === 'offered') return source.manifest.name
  return source.kind === 'picked' ? (source.files[0]?.name ?? 'the file') : source.url
}

function offeredAt(manifest: Manifest, base: string): ModelSource {
  return { kind: 'offered', manifest, base: new URL('page/model.json', base).href }
}
