/** Shows a JSON value for reading: fields with their names, and lists as lists. */

/** Deepest level that is laid out; what is deeper is shown as JSON. */
const deepest = 12

export function JsonView({ value, level = 0 }: { readonly value: unknown; readonly level?: number }) {
  if (typeof value !== 'object' || value === null) return <Scalar value={value} />
  const entries = Object.entries(value)
  if (entries.length === 0) return <span class="json-none">{Array.isArray(value) ? 'an empty list' : 'no fields'}</span>
  if (level >= deepest) return <code>{JSON.stringify(value)}</code>
  if (Array.isArray(value))
    return (
      <ol class="json">
        {value.map((item, at) => (
          <li key={at}>
            <JsonView value={item} level={level + 1} />
          </li>
        ))}
      </ol>
    )
  return (
    <dl class="json">
      {entries.map(([name, field]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>
            <JsonView value={field} level={level + 1} />
          </dd>
        </div>
      ))}
    </dl>
  )
}

function Scalar({ value }: { readonly value: unknown }) {
  if (value === '') return <span class="json-none">an empty text</span>
  if (typeof value === 'string') return <span>{value}</span>
  return <span class="json-value">{value === null ? 'none' : String(value)}</span>
}
