/** Which endpoint is asked. The key stays in this tab's memory. */
import { useState } from 'preact/hooks'
import { modelsOf } from '../endpoint.ts'

export interface EndpointSettings {
  readonly url: string
  readonly key: string
  readonly model: string
}

export function EndpointPanel({
  value,
  onChange,
}: {
  readonly value: EndpointSettings
  readonly onChange: (value: EndpointSettings) => void
}) {
  const [models, setModels] = useState<readonly string[]>([])
  const [said, setSaid] = useState<{ readonly failed: boolean; readonly text: string } | undefined>(undefined)
  const settings = { ...value, url: value.url.replace(/\/+$/, '') }
  const ask = async (event: Event) => {
    event.preventDefault()
    try {
      const names = await modelsOf(settings)
      setModels(names)
      setSaid({ failed: false, text: names.length === 0 ? 'it has no models' : `it has ${names.join(', ')}` })
      if (names.length > 0 && !names.includes(value.model)) onChange({ ...settings, model: names[0]! })
    } catch (error) {
      setSaid({ failed: true, text: (error as Error).message })
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
            value={value.url}
            onInput={(event) => onChange({ ...value, url: event.currentTarget.value })}
          />
        </label>
        <label>
          Key
          <input
            type="password"
            autocomplete="off"
            placeholder="if it needs one"
            value={value.key}
            onInput={(event) => onChange({ ...value, key: event.currentTarget.value })}
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
            {models.map((name) => (
              <option key={name} value={name} />
            ))}
          </datalist>
        </label>
        <button type="submit">Ask for its models</button>
      </form>
      {said && (
        <p class={said.failed ? 'failed' : 'notes'} role={said.failed ? 'alert' : 'status'}>
          {said.text}
        </p>
      )}
    </section>
  )
}
