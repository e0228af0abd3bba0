/** Two harmless tools to try calls with, for the page and the terminal: a calculator and a clock. */
import type { ToolDefinition } from '../src/index.ts'
import { CalculatorError, calculated, shownNumber } from './calculator.ts'
import { ClockError, timeIn } from './clock.ts'

/** A call that a model wrote, with its arguments as JSON text. */
export interface Call {
  readonly id: string
  readonly name: string
  readonly arguments: string
}

/** The tools, as a model is told about them. */
export const playgroundTools: readonly ToolDefinition[] = [
  {
    name: 'calculator',
    description: 'Computes an arithmetic expression and returns its value.',
    parameters: {
      type: 'object',
      properties: {
        expression: {
          type: 'string',
          // It keeps small models, which would go on in words, to an expression.
          pattern: '^[0-9a-z+*/%^(),. -]{1,80}$',
          description: 'Numbers, + - * / ^, brackets and functions, such as (2 + 3) * sqrt(16).',
        },
      },
      required: ['expression'],
      additionalProperties: false,
    },
  },
  {
    name: 'clock',
    description: 'Returns the date, the day of the week and the time.',
    parameters: {
      type: 'object',
      properties: {
        time_zone: {
          type: 'string',
          maxLength: 40,
          description: 'An IANA name such as Europe/Oslo. Default: the time zone of the user.',
        },
      },
      additionalProperties: false,
    },
  },
]

/**
 * Runs a call and returns its result, as text for the model. It never throws: what is wrong with the
 * call is the result, beginning with "error:", so that the model can try again.
 */
export function resultOf(call: Call, now: Date = new Date()): string {
  try {
    return run(call, now)
  } catch (error) {
    if (error instanceof CalculatorError || error instanceof ClockError || error instanceof CallError)
      return `error: ${error.message}`
    throw error
  }
}

/** Arguments that don't fit the tool. */
class CallError extends Error {}

function run({ name, arguments: text }: Call, now: Date): string {
  const tool = playgroundTools.find((one) => one.name === name)
  if (!tool) {
    const names = playgroundTools.map((one) => one.name).join(' and ')
    throw new CallError(`there is no tool ${JSON.stringify(name.slice(0, 60))}; there are ${names}`)
  }
  const values = argumentsOf(text)
  if (name === 'clock') return timeIn(textIn(values, 'time_zone'), now)
  const expression = textIn(values, 'expression')
  if (expression === undefined) throw new CallError('the argument "expression" is missing')
  return shownNumber(calculated(expression))
}

/** Returns the arguments of a call as an object. Throws if they are not the JSON of one. */
export function argumentsOf(text: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(text.trim() === '' ? '{}' : text)
  } catch {
    throw new CallError('the arguments are not JSON')
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  throw new CallError('the arguments are not a JSON object')
}

/** Returns a text among the arguments; a number is taken as its text. */
function textIn(values: Readonly<Record<string, unknown>>, name: string): string | undefined {
  const value = Object.hasOwn(values, name) ? values[name] : undefined
  if (value === undefined || value === null) return undefined
  if (typeof value === 'string' || typeof value === 'number') return String(value)
  throw new CallError(`the argument ${JSON.stringify(name)} is not a text`)
}
