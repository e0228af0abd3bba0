/** The models that can be loaded, with what each takes. */
import { bytesOf, isSame } from '../manifest.ts'
import { type Fit, fitOf } from '../model-fit.ts'
import type { MenuEntry } from './model-state.ts'
import { megabytes } from './units.ts'
import type { TabModel } from './use-model.ts'

export function ModelMenu({ model }: { readonly model: TabModel }) {
  const { menu, current } = model
  if (menu.length === 0) return null
  return (
    <ul class="models" aria-label="Models">
      {menu.map((entry, at) => (
        <Row
          key={at}
          entry={entry}
          loaded={current !== undefined && isSame(current, entry.manifest)}
          primary={at === 0 && !current}
          model={model}
        />
      ))}
    </ul>
  )
}

interface Props {
  readonly entry: MenuEntry
  /** Whether it is the model in memory. */
  readonly loaded: boolean
  readonly primary: boolean
  readonly model: TabModel
}

function Row({ entry: { manifest, kept }, loaded, primary, model }: Props) {
  const { name, licence, terms } = manifest
  const fit = fitOf(manifest)
  return (
    <li class="row">
      {loaded ? (
        <strong>{name}</strong>
      ) : (
        <button
          type="button"
          class={primary ? 'primary' : ''}
          disabled={fit.kind === 'never'}
          onClick={() => model.choose(manifest)}
        >
          Load {name} ({megabytes(bytesOf(manifest))})
        </button>
      )}
      <span class="notes">
        {loaded ? 'in memory' : kept ? 'kept here' : 'not fetched yet'}
        {' · '}
        {terms ? (
          <a href={terms} target="_blank" rel="noreferrer">
            {licence ?? 'licence'}
          </a>
        ) : (
          (licence ?? 'licence not stated')
        )}
        {' · '}
        {sayFit(fit)}
      </span>
      {kept && !loaded && (
        <button type="button" class="quiet" onClick={() => model.forget(manifest)}>
          Remove {name} from this browser
        </button>
      )}
    </li>
  )
}

function sayFit({ kind, needed, limit }: Fit): string {
  const takes = `takes about ${megabytes(needed)} of memory`
  if (kind === 'never') return `${takes}: more than the ${megabytes(limit)} of a tab`
  return kind === 'tight' ? `${takes}: this device has about ${megabytes(limit)}` : takes
}
