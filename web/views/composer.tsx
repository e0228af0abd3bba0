/** The form in which a message is written and sent, and its answer stopped. */

interface Props {
  readonly text: string
  readonly placeholder: string
  /** Whether a model is ready to answer. */
  readonly can: boolean
  /** Controls the answer in progress. */
  readonly control: AbortController | undefined
  onText(text: string): void
  onSend(): void
}

/**
 * Key code of a key press within a composition; Safari ends the composition before the Enter that
 * ended it.
 */
const composingKey = 229

export function Composer({ text, placeholder, can, control, onText, onSend }: Props) {
  return (
    <form
      class="ask"
      onSubmit={(event) => {
        event.preventDefault()
        onSend()
      }}
    >
      <label class="unseen" for="question">
        Your message
      </label>
      <textarea
        id="question"
        rows={2}
        autocomplete="off"
        placeholder={placeholder}
        value={text}
        onInput={(event) => onText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === composingKey) return
          event.preventDefault()
          onSend()
        }}
      />
      {control ? (
        <button type="button" class="primary" onClick={() => control.abort()}>
          Stop
        </button>
      ) : (
        <button type="submit" class="primary" disabled={!can || text.trim() === ''}>
          Send
        </button>
      )}
    </form>
  )
}
