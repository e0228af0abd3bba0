/** The panel of the model in this tab: its state, its device, and ways to load it. */
import type { Capability } from '../capability.ts'
import type { Offered } from '../manifest.ts'
import type { Device } from '../protocol.ts'
import { ModelMenu } from './model-menu.tsx'
import type { ModelState } from './model-state.ts'
import { megabytes, milliseconds } from './units.ts'
import type { TabModel } from './use-model.ts'

interface Props {
  readonly can: Capability
  readonly model: TabModel
}

export function ModelPanel({ can, model }: Props) {
  const { state } = model
  if (!can.simd)
    return (
      <section class="panel failed" role="alert">
        This browser does not support WebAssembly SIMD, which the model needs. Update it, or choose an endpoint.
      </section>
    )
  return (
    <section class="panel" aria-label="The model in this tab">
      {state.kind === 'looking' && <p>Looking for the model…</p>}
      {state.kind === 'loading' && <Loading state={state} onCancel={model.cancel} />}
      {state.kind === 'ready' && <Loaded can={can} model={model} state={state} />}
      {state.kind === 'failed' && (
        <p class="failed" role="alert">
          {state.message}
        </p>
      )}
      {(state.kind === 'absent' || state.kind === 'failed') && <Offer model={model} offered={state.offered} />}
      {(state.kind === 'loading' || state.kind === 'ready') && <OtherModels model={model} />}
    </section>
  )
}

/** Stays as it is while a model loads, so that another one can be chosen meanwhile. */
function OtherModels({ model }: { readonly model: TabModel }) {
  return (
    <details class="others" onToggle={(event) => event.currentTarget.open && model.refresh()}>
      <summary>Other models</summary>
      <div class="offer">
        <ModelMenu model={model} />
        <OwnModel model={model} first={false} />
      </div>
    </details>
  )
}

function Offer({ model, offered }: { readonly model: TabModel; readonly offered: Offered }) {
  return (
    <div class="offer">
      {offered.kind === 'none' && <p>No model comes with this page.</p>}
      {offered.kind === 'unknown' && (
        <div class="row">
          <p class="failed" role="alert">
            It is unknown whether a model comes with this page: {offered.why}.
          </p>
          <button type="button" onClick={model.look}>
            Try again
          </button>
        </div>
      )}
      <ModelMenu model={model} />
      <OwnModel model={model} first={model.menu.length === 0} />
    </div>
  )
}

/** Ways to load a model that the page does not know. */
function OwnModel({ model, first }: { readonly model: TabModel; readonly first: boolean }) {
  return (
    <>
      <label class="file">
        <span>{first ? 'Pick a GGUF file' : 'or pick a GGUF file'}</span>
        <input
          type="file"
          accept=".gguf"
          onChange={(event) => {
            const files = [...(event.currentTarget.files ?? [])]
            if (files.length > 0) model.loadPicked(files)
          }}
        />
      </label>
      <form
        class="address"
        onSubmit={(event) => {
          event.preventDefault()
          model.loadAddress(String(new FormData(event.currentTarget).get('address')))
        }}
      >
        <label for="model-address">or the address of a GGUF file</label>
        <input id="model-address" name="address" type="url" required placeholder="https://…/model.gguf" />
        <button type="submit">Fetch</button>
      </form>
    </>
  )
}

const stages = {
  wait: 'Waiting for another tab that is fetching it',
  check: 'Checking stored files',
  fetch: 'Fetching',
  load: 'Loading weights',
} as const

interface LoadingProps {
  readonly state: Extract<ModelState, { kind: 'loading' }>
  onCancel(): void
}

function Loading({ state: { name, progress, before, failed }, onCancel }: LoadingProps) {
  const { stage, done, total } = progress ?? { stage: 'fetch', done: 0, total: 0 }
  const counted = stage !== 'wait' && stage !== 'load' && done > 0
  return (
    <div class="loading">
      {failed !== undefined && (
        <p class="failed" role="alert">
          {failed}
        </p>
      )}
      <label for="load-progress">
        {stages[stage]}
        {counted && `: ${megabytes(done)}${total > 0 ? ` of ${megabytes(total)}` : ''}`}
      </label>
      {/* Without a value the bar shows activity, not progress. */}
      <progress
        id="load-progress"
        max="1"
        {...(stage !== 'wait' && total > 0 && { value: Math.min(1, done / total) })}
      />
      <div class="row between">
        <p class="notes">
          {name}
          {before && `; ${before.name} answers until it is here`}
        </p>
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
      </div>
    </div>
  )
}

function Loaded({
  can,
  model,
  state: { ready, failed },
}: Props & { readonly state: Extract<ModelState, { kind: 'ready' }> }) {
  const { where, gpu, move, pageKept, current } = model
  return (
    <div class="loaded">
      {failed !== undefined && (
        <p class="failed" role="alert">
          {failed}
        </p>
      )}
      <dl class="facts">
        <Fact name="model" value={ready.name} />
        <Fact name="backend" value={ready.build} />
        <Fact name="memory" value={megabytes(ready.memory)} />
        <Fact name="ready in" value={milliseconds(ready.loadMs)} />
      </dl>
      <p class="notes">
        {!can.isolated &&
          'One thread: this page is not cross-origin isolated, so memory can’t be shared; `foretoken serve` isolates it. '}
        {/simd128/.test(ready.build) && 'This browser has no relaxed SIMD: matrix products take about twice as long. '}
        {ready.kept !== true && `It is not kept for the next visit: ${ready.kept}. `}
        {ready.kept === true && pageKept && 'Page and model are kept here: the next visit needs no network.'}
      </p>
      <div class="row">
        {gpu !== undefined && (
          <label>
            Runs on{' '}
            <select
              value={where.device}
              onChange={({ currentTarget }) => move({ ...where, device: currentTarget.value as Device })}
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
              onChange={({ currentTarget }) => move({ ...where, threads: Number(currentTarget.value) })}
            >
              {Array.from({ length: can.threads }, (_, at) => (
                <option key={at} value={String(at + 1)}>
                  {at + 1}
                </option>
              ))}
            </select>
          </label>
        )}
        {ready.kept === true && current && (
          <button type="button" class="quiet" onClick={() => model.forget(current)}>
            Remove the model from this browser
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
