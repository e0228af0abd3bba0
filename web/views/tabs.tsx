/** A choice among a few options as radio buttons, for keyboards and screen readers. */
import { useId } from 'preact/hooks'

export interface Option<T extends string> {
  readonly value: T
  readonly text: string
  readonly disabled?: boolean
}

export function Tabs<T extends string>({
  label,
  value,
  options,
  plain = false,
  onChange,
}: {
  readonly label: string
  readonly value: T
  readonly options: readonly Option<T>[]
  /** Shows underlined words, for choices that only change the view. */
  readonly plain?: boolean
  readonly onChange: (value: T) => void
}) {
  const name = useId()
  return (
    <fieldset class={plain ? 'views' : 'tabs'}>
      <legend class="unseen">{label}</legend>
      {options.map((option) => (
        <label key={option.value} class={option.value === value ? 'chosen' : ''}>
          <input
            type="radio"
            name={name}
            value={option.value}
            checked={option.value === value}
            disabled={option.disabled ?? false}
            onChange={() => onChange(option.value)}
          />
          <span>{option.text}</span>
        </label>
      ))}
    </fieldset>
  )
}
