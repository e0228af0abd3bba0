/**
 * `@huggingface/jinja` with bounds: a template comes with a model, and a model may come from anywhere. The package's own
 * `Template` would follow a loop for ever, and make a range of any length.
 */
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja'

/** Expressions and statements that one rendering may evaluate: real templates take a few dozen a message. */
const maxSteps = 2_000_000
const maxRange = 100_000

/** What we use of the package, whose own types do not resolve under Node's rules. */
interface Evaluator {
  evaluate(statement: unknown, environment: unknown): unknown
  run(program: Program): { readonly value: unknown }
}

/** A parsed template. */
export type Program = object

class Bounded extends (Interpreter as unknown as new (environment: unknown) => Evaluator) {
  #steps = 0

  override evaluate(statement: unknown, environment: unknown): unknown {
    if (++this.#steps > maxSteps) throw new Error(`it takes more than ${maxSteps} steps`)
    return super.evaluate(statement, environment)
  }
}

/** Throws the package's own errors. */
export function parseTemplate(source: string): Program {
  return parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true })) as Program
}

/** Renders with `values` and the functions that Hugging Face's templates expect. Throws for a template that runs on. */
export function renderTemplate(program: Program, values: Readonly<Record<string, unknown>>): string {
  const environment = new Environment()
  for (const name of ['true', 'True']) environment.set(name, true)
  for (const name of ['false', 'False']) environment.set(name, false)
  for (const name of ['none', 'None']) environment.set(name, null)
  environment.set('range', range)
  environment.set('strftime_now', strftimeNow)
  environment.set('raise_exception', (message: unknown) => {
    throw new Error(String(message))
  })
  for (const [name, value] of Object.entries(values)) environment.set(name, value)
  return String(new Bounded(environment).run(program).value)
}

function range(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop]
  const length = Math.max(0, Math.ceil((to - from) / step))
  if (!(length <= maxRange)) throw new Error(`range() of ${length}; at most ${maxRange}`)
  return Array.from({ length }, (_, i) => from + i * step)
}

/** Python's strftime of now, for the codes that chat templates use; others stay as they are. */
function strftimeNow(format: string): string {
  const now = new Date()
  const name = (month: 'long' | 'short') => new Intl.DateTimeFormat('en', { month }).format(now)
  const two = (value: number) => String(value).padStart(2, '0')
  const codes: Readonly<Record<string, string>> = {
    Y: String(now.getFullYear()),
    m: two(now.getMonth() + 1),
    d: two(now.getDate()),
    H: two(now.getHours()),
    M: two(now.getMinutes()),
    b: name('short'),
    B: name('long'),
    '%': '%',
  }
  return format.replace(/%(.)/g, (whole, code: string) => codes[code] ?? whole)
}
