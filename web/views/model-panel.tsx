/** The model in this tab: what it is, what runs it, how it comes here. */
import type { Capability } from '../capability.ts'
import type { Where } from '../engine.ts'
import type { Device, Manifest } from '../protocol.ts'
import type { ModelState } from './model-state.ts'
import { megabytes, milliseconds } from './units.ts'

interface Props {
  readonly can: Capability
  readonly where: Where
  /** Its name, where there is one. */
  readonly gpu: string | undefined
  readonly model: ModelState
  onWhere(where: Where): void
  onLoad(): void
  onPick(files: readonly File[]): void
  /** A GGUF file's. */
  onAddress(url: string): void
  onForget(): void
}

export function ModelPanel(props: Props) {
  const { can, model } = props
  if (!can.simd)
    return (
      <section class="panel failed" role="alert">
        This browser knows no WebAssembly SIMD, which the model needs. Update it, or choose an endpoint.
      </section>
    )
  return (
    <section class="panel" aria-label="The model in this tab">
      {model.kind === 'looking' && <p>Looking for the model…</p>}
      {model.kind === 'loading' && <Loading model={model} />}
      {model.kind === 'ready' && <Loaded {...props} model={model} />}
      {model.kind === 'failed' && (
        <p class="failed" role="alert">
          {model.message}
        </p>
      )}
      {(model.kind === 'absent' || model.kind === 'failed') && <Offer {...props} manifest={model.manifest} />}
    </section>
  )
}

function Offer({ manifest, onLoad, onPick, onAddress }: Props & { readonly manifest: Manifest | undefined }) {
  const bytes = manifest ? [...manifest.files, ...(manifest.predictor ? [manifest.predictor] : [])] : []
  const total = bytes.reduce((sum, file) => sum + file.bytes, 0)
  return (
    <div class="offer">
      {manifest && (
        <button type="button" class="primary" onClick={onLoad}>
          Load {manifest.name} ({megabytes(total)})
        </button>
      )}
      {!manifest && <p>No model comes with this page.</p>}
      <label class="file">
        <span>{manifest ? 'or a GGUF file of your own' : 'Pick a GGUF file'}</span>
        <input
          type="file"
          accept=".gguf"
          onChange={(event) => {
            const files = [...(event.currentTarget.files ?? [])]
            if (files.length > 0) onPick(files)
          }}
        />
      </label>
      <form
        class="address"
        onSubmit={(event) => {
          event.preventDefault()
          onAddress(String(new FormData(event.currentTarget).get('address')))
        }}
      >
        <label for="model-address">or the address of one</label>
        <input id="model-address" name="address" type="url" required placeholder="https://…/model.gguf" />
        <button type="submit">Fetch</button>
      </form>
    </div>
  )
}

function Loading({ model: { progress } }: { readonly model: Extract<ModelState, { kind: 'loading' }> }) {
  const share = progress ? progress.done / Math.max(1, progress.total) : 0
  const what =
    progress?.stage === 'check'
      ? 'Checking what is here'
      : progress?.stage === 'load'
        ? 'Laying out weights'
        : 'Fetching'
  return (
    <div class="loading">
      <label for="load-progress">
        {what}
        {progress && progress.stage !== 'load' ? `: ${megabytes(progress.done)} of ${megabytes(progress.total)}` : ''}
      </label>
      <progress id="load-progress" max="1" value={share} />
    </div>
  )
}

function Loaded({
  can,
  where,
  gpu,
  onWhere,
  onForget,
  model: { ready },
}: Props & { readonly model: Extract<ModelState, { kind: 'ready' }> }) {
  return (
    <div class="loaded">
      <dl class="facts">
        <Fact name="model" value={ready.name} />
        <Fact name="runs by" value={ready.build} />
        <Fact name="memory" value={megabytes(ready.memory)} />
        <Fact name="ready in" value={milliseconds(ready.loadMs)} />
      </dl>
      <p class="notes">
        {!can.isolated &&
          'One thread: this page is not cross-origin isolated, so that memory can’t be shared. `foretoken serve` isolates it. '}
        {/simd128/.test(ready.build) && 'This browser has no relaxed SIMD: products take about twice as long. '}
        {ready.kept !== true && `It is not kept for the next visit: ${ready.kept}.`}
      </p>
      <div class="row">
        {gpu !== undefined && (
          <label>
            Runs on{' '}
            <select
              value={where.device}
              onChange={({ currentTarget }) => onWhere({ ...where, device: currentTarget.value as Device })}
            >
              <option value="cpu">processor</option>
              <option value="gpu">GPU ({gpu})</option>
            </select>
          </label>
        )}
        {can.threads > 1 && where.device === 'cpu' && (
          <label>
            Threads{' '}
            <select
              value={String(where.threads)}
              onChange={({ currentTarget }) => onWhere({ ...where, threads: Number(currentTarget.value) })}
            >
              {Array.from({ length: can.threads }, (_, at) => (
                <option key={at} value={String(at + 1)}>
                  {at + 1}
                </option>
              ))}
            </select>
          </label>
        )}
        {ready.kept === true && (
          <button type="button" class="quiet" onClick={onForget}>
            Remove it from this browser
          </button>
        )}
      </div>
    </div>
  )
}

function Fact({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  )
}
