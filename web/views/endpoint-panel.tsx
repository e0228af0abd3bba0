/** The panel that chooses the endpoint. Keys stay in this tab's memory, each for its origin. */
import { useState } from 'preact/hooks'
import { modelsOf } from '../endpoint.ts'
import { type EndpointSettings, keyOf, placeOf, withKey } from '../endpoint-settings.ts'

/** The result of listing the models of one endpoint. */
interface ModelsResult {
  readonly place: string
  readonly models: readonly string[]
  readonly failed: boolean
  readonly text: string
}

export function EndpointPanel({
  value,
  onChange,
  onModel,
}: {
  readonly value: EndpointSettings
  readonly onChange: (value: EndpointSettings) => void
  /** Chooses a model, if the endpoint is still that of `place`. */
  readonly onModel: (place: string, model: string) => void
}) {
  const [result, setResult] = useState<ModelsResult | undefined>(undefined)
  const place = placeOf(value.address)
  // One endpoint's result does not apply to another.
  const shown = result?.place === place ? result : undefined
  const ask = async (event: Event) => {
    event.preventDefault()
    try {
      const models = await modelsOf(value)
      setResult({
        place,
        models,
        failed: false,
        text: models.length === 0 ? 'There are no models.' : `Models: ${models.join(', ')}`,
      })
      const [first] = models
      if (first !== undefined && !models.includes(value.model)) onModel(place, first)
    } catch (error) {
      setResult({ place, models: [], failed: true, text: (error as Error).message })
    }
  }
  return (
    <section class="panel" aria-label="The endpoint">
      <form class="endpoint" onSubmit={(event) => void ask(event)}>
        <label>
          Address
          <input
            type="url"
            required
            value={value.address}
            onInput={(event) => onChange({ ...value, address: event.currentTarget.value })}
          />
        </label>
        <label>
          Key
          <input
            type="password"
            autocomplete="off"
            placeholder="if required"
            value={keyOf(value)}
            onInput={(event) => onChange(withKey(value, event.currentTarget.value))}
          />
        </label>
        <label>
          Model
          <input
            list="endpoint-models"
            value={value.model}
            onInput={(event) => onChange({ ...value, model: event.currentTarget.value })}
          />
          <datalist id="endpoint-models">
            {(shown?.models ?? []).map((name) => (
              <option key={name} value={name} />
            ))}
          </datalist>
        </label>
        <button type="submit">List models</button>
      </form>
      {shown && (
        <p class={shown.failed ? 'failed' : 'notes'} role={shown.failed ? 'alert' : 'status'}>
          {shown.text}
        </p>
      )}
    </section>
  )
}
