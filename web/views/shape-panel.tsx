/** The box for the JSON schema of an answer; loaded when it is first opened. */
import { useEffect } from 'preact/hooks'
import type { TabEngine } from '../engine.ts'
import { schemaOfExamples } from '../schema-of-examples.ts'

interface Props {
  readonly schema: string
  /** What is wrong with the schema, with the path to it. */
  readonly fault: string | undefined
  /** The engine that can compile the schema, once its model is loaded. */
  readonly engine: TabEngine | undefined
  onSchema(schema: string): void
  onFault(fault: string | undefined): void
  /** Suggests a question that suits an example. */
  onQuestion(question: string): void
}

export function ShapePanel({ schema, fault, engine, onSchema, onFault, onQuestion }: Props) {
  useEffect(() => {
    const text = schema.trim()
    onFault(text === '' ? undefined : syntaxFault(text))
    if (text === '' || syntaxFault(text) !== undefined || !engine) return
    const control = new AbortController()
    // Waits until the typing pauses.
    const timer = setTimeout(() => {
      engine.check(text, control.signal).then(
        () => !control.signal.aborted && onFault(undefined),
        (error) => !control.signal.aborted && onFault(faultOf(error as Error)),
      )
    }, pause)
    return () => {
      clearTimeout(timer)
      control.abort()
    }
  }, [schema, engine])

  const fromExamples = () => {
    try {
      onSchema(JSON.stringify(schemaOfExamples(schema), undefined, 2))
    } catch (error) {
      onFault((error as Error).message)
    }
  }

  return (
    <div class="shape">
      <label for="schema">JSON schema</label>
      <textarea
        id="schema"
        class="code"
        rows={schema === '' ? 3 : 8}
        spellcheck={false}
        autocomplete="off"
        autocapitalize="off"
        placeholder='{"type": "object", "properties": …}'
        value={schema}
        aria-invalid={fault !== undefined}
        aria-describedby="schema-fault schema-hint"
        onInput={(event) => onSchema(event.currentTarget.value)}
      />
      <p id="schema-fault" class="failed" role="status">
        {fault}
      </p>
      <div class="row">
        <span class="notes">Try</span>
        {samples.map(({ name, schema: sample, question }) => (
          <button
            key={name}
            type="button"
            class="small"
            onClick={() => {
              onSchema(JSON.stringify(sample, undefined, 2))
              onQuestion(question)
            }}
          >
            {name}
          </button>
        ))}
        {schema.trim() !== '' && (
          <>
            <button type="button" class="small" onClick={fromExamples}>
              Make a schema of examples
            </button>
            <button type="button" class="small" onClick={() => onSchema('')}>
              Any text again
            </button>
          </>
        )}
      </div>
      <p id="schema-hint" class="notes">
        Every answer fits the schema. The model is not told about it: say in your message what you want. You can also
        paste JSON values, one in each line, and make a schema of them.
      </p>
    </div>
  )
}

const pause = 400

/** Returns a failure without what is plain beside the box. */
function faultOf({ message }: Error): string {
  return message.replace(/^the guide \(json_schema\) /, '').replace(/^at /, 'At ')
}

/** Returns what is wrong with the text as JSON. */
function syntaxFault(text: string): string | undefined {
  try {
    JSON.parse(text)
    return undefined
  } catch (error) {
    return `This is not JSON: ${(error as Error).message}`
  }
}

const text = { type: 'string', maxLength: 60 } as const
const object = (properties: Readonly<Record<string, unknown>>) => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
})

const samples = [
  {
    name: 'A person',
    question: 'Invent a person: the name, the age, and up to three things that this person likes.',
    schema: object({
      name: text,
      age: { type: 'integer', minimum: 0, maximum: 120 },
      likes: { type: 'array', items: text, minItems: 1, maxItems: 3 },
    }),
  },
  {
    name: 'A mood',
    question: 'What is the mood of this sentence? The train was late again, but the coffee was great.',
    schema: object({ mood: { enum: ['good', 'bad', 'mixed'] }, reason: text }),
  },
  {
    name: 'A recipe',
    question: 'A recipe for pancakes: the dish, the minutes it takes, and the ingredients with their amounts.',
    schema: object({
      dish: text,
      minutes: { type: 'integer', minimum: 1, maximum: 600 },
      ingredients: { type: 'array', items: object({ name: text, amount: text }), minItems: 1, maxItems: 5 },
    }),
  },
] as const
