/**
 * Readers of one call, one for each shape: they get the text from the call's first sign on, and
 * report its name, its arguments as JSON, and its end.
 */
import type { CallShape } from './format.ts'
import { JsonObjectReader, stringIn } from './json-object.ts'
import { ArgumentsEnd, argumentsAsJson, bareKeys, type Notation, python } from './literal.ts'

/** What a reader of a call reports. `name` comes first, and returns false for a name that is not known. */
export interface CallEvents {
  name(name: string): boolean
  arguments(text: string): void
}

/** A name that is longer is none: what a model writes without an end is not read again and again. */
const longestName = 1024

/** Reads one call. */
export interface CallReader {
  /**
   * Reads the text that has come and not been taken. Returns how much of it is taken, and whether
   * the call is complete, or is not a call after all.
   */
  push(text: string): { readonly taken: number; readonly state: 'reading' | 'done' | 'bad' }
}

/** Creates the reader of a call. */
export function callReader(shape: CallShape, events: CallEvents): CallReader {
  switch (shape.kind) {
    case 'object':
      return shape.python ? new PythonOrObject(events) : new ObjectCall(events)
    case 'tagged':
      return new TaggedCall(shape, events)
    case 'python':
      return new PythonOrObject(events)
    case 'bare-keys':
      return new LiteralCall('call:', bareKeys(shape.quote), events)
  }
}

/**
 * Passes on arguments in JSON as they come, except where the model wrote them as a string that holds
 * JSON: these are passed on when they are complete.
 */
class Arguments {
  readonly #events: CallEvents
  #first = ''
  complete = false

  constructor(events: CallEvents) {
    this.#events = events
  }

  part(text: string): void {
    if (this.#first === '') this.#first = text.charAt(0)
    if (this.#first === '{') this.#events.arguments(text)
  }

  value(text: string): void {
    this.complete = true
    if (text.startsWith('{')) return
    const inside = stringIn(text)?.trim()
    this.#events.arguments(inside?.startsWith('{') ? inside : text === 'null' ? '{}' : text)
  }
}

/** `{"name": "NAME", "arguments": {...}}`, the keys in any order, with others or without. */
class ObjectCall implements CallReader {
  readonly #events: CallEvents
  readonly #arguments: Arguments
  readonly #object: JsonObjectReader
  #named = false
  /** Arguments that came before the name. */
  #early = ''
  #earlyValue: string | undefined

  constructor(events: CallEvents) {
    this.#events = events
    this.#arguments = new Arguments(events)
    this.#object = new JsonObjectReader({
      part: (key, text) => {
        if (!isArguments(key) || this.#arguments.complete) return
        if (this.#named) this.#arguments.part(text)
        else if (this.#earlyValue === undefined) this.#early += text
      },
      value: (key, text) => this.#value(key, text),
    })
  }

  push(text: string) {
    const taken = this.#object.push(text)
    const { state } = this.#object
    if (state === 'done' && !this.#named) return { taken, state: 'bad' as const }
    if (state === 'done' && !this.#arguments.complete) this.#events.arguments('{}')
    return { taken, state }
  }

  #value(key: string, text: string): boolean {
    if (key === 'name' && !this.#named) {
      const name = stringIn(text)
      this.#named = name !== undefined && this.#events.name(name)
      if (this.#named && this.#early !== '') this.#arguments.part(this.#early)
      if (this.#named && this.#earlyValue !== undefined) this.#arguments.value(this.#earlyValue)
      return this.#named
    }
    if (isArguments(key) && this.#named && !this.#arguments.complete) this.#arguments.value(text)
    else if (isArguments(key)) this.#earlyValue ??= text
    return true
  }
}

const isArguments = (key: string) => key === 'arguments' || key === 'parameters'

/** A name between two texts, JSON, and a third text. Mistral may write an id before the arguments. */
class TaggedCall implements CallReader {
  readonly #shape: Extract<CallShape, { kind: 'tagged' }>
  readonly #events: CallEvents
  readonly #object: JsonObjectReader
  #place: 'before' | 'name' | 'arguments' | 'after' = 'before'

  constructor(shape: Extract<CallShape, { kind: 'tagged' }>, events: CallEvents) {
    this.#shape = shape
    this.#events = events
    this.#object = new JsonObjectReader({ part() {}, value: () => true })
  }

  push(text: string) {
    let at = 0
    for (;;) {
      const rest = text.slice(at)
      const { taken, next } = this.#step(rest)
      at += taken
      if (next === 'reading' || next === 'bad' || next === 'done') return { taken: at, state: next }
      this.#place = next
    }
  }

  #step(text: string): { taken: number; next: 'before' | 'name' | 'arguments' | 'after' | 'reading' | 'done' | 'bad' } {
    const { before, middle, after } = this.#shape
    switch (this.#place) {
      case 'before':
        return passed(text, before, 'name')
      case 'name': {
        const [head = '', name = ''] = /^\s*([\w.-]*)/.exec(text) ?? []
        if (name.length > longestName) return { taken: 0, next: 'bad' }
        if (head.length === text.length) return { taken: 0, next: 'reading' }
        const [id = ''] = /^\s*\[CALL_ID\][\w-]*/.exec(text.slice(head.length)) ?? []
        const from = head.length + id.length
        const whole = text.slice(from)
        if (id.length > longestName) return { taken: 0, next: 'bad' }
        if (id === '' && isBegun('[CALL_ID]', whole)) return { taken: 0, next: 'reading' }
        const { taken, next } = passed(whole, middle, 'arguments')
        if (next !== 'arguments') return { taken: 0, next }
        return name !== '' && this.#events.name(name) ? { taken: from + taken, next } : { taken: 0, next: 'bad' }
      }
      case 'arguments': {
        const taken = this.#object.push(text)
        this.#events.arguments(text.slice(0, taken))
        const { state } = this.#object
        return { taken, next: state === 'done' ? 'after' : state }
      }
      case 'after':
        return passed(text, after, 'done')
    }
  }
}

/** Passes over an expected text. White space before it is free, and so is that of its own ends. */
function passed<T extends string>(text: string, expected: string, next: T) {
  const wanted = expected.trim()
  const from = wanted === '' ? 0 : text.length - text.trimStart().length
  if (text.startsWith(wanted, from)) return { taken: from + wanted.length, next }
  return { taken: 0, next: isBegun(wanted, text.slice(from)) ? ('reading' as const) : ('bad' as const) }
}

/** Returns whether `text` is a beginning of `wanted`, and not all of it. */
export function isBegun(wanted: string, text: string): boolean {
  return text.length < wanted.length && wanted.startsWith(text)
}

/** A call in Python, or in JSON, which models that were taught both write in one format. */
class PythonOrObject implements CallReader {
  readonly #events: CallEvents
  #reader: CallReader | undefined

  constructor(events: CallEvents) {
    this.#events = events
  }

  push(text: string) {
    if (this.#reader) return this.#reader.push(text)
    const first = text.trimStart().charAt(0)
    if (first === '') return { taken: 0, state: 'reading' as const }
    this.#reader = first === '{' ? new ObjectCall(this.#events) : new LiteralCall('', python, this.#events)
    return this.#reader.push(text)
  }
}

/** Llama calls its built-in tools as methods. */
const method = /\.call$/

/** `NAME(...)` and `call:NAME{...}`: the arguments are converted when all of them have come. */
class LiteralCall implements CallReader {
  readonly #before: string
  readonly #notation: Notation
  readonly #events: CallEvents
  readonly #end: ArgumentsEnd
  #body = ''
  #named = false

  constructor(before: string, notation: Notation, events: CallEvents) {
    this.#before = before
    this.#notation = notation
    this.#end = new ArgumentsEnd(notation)
    this.#events = events
  }

  push(text: string) {
    let at = 0
    if (!this.#named) {
      const start = passed(text, this.#before, 'name')
      if (start.next !== 'name') return { taken: 0, state: start.next }
      const [head = '', name = ''] = /^\s*([\w.-]*)\s*/.exec(text.slice(start.taken)) ?? []
      at = start.taken + head.length
      if (name.length > longestName) return { taken: 0, state: 'bad' as const }
      if (at === text.length) return { taken: 0, state: 'reading' as const }
      if (name === '' || text.charAt(at) !== this.#notation.open || !this.#events.name(name.replace(method, '')))
        return { taken: 0, state: 'bad' as const }
      this.#named = true
    }
    const { taken, ended } = this.#end.push(text.slice(at))
    this.#body += text.slice(at, at + taken)
    if (!ended) return { taken: at + taken, state: 'reading' as const }
    // Arguments in no known notation are passed on as they are: the caller sees that they are not JSON.
    this.#events.arguments(argumentsAsJson(this.#body, this.#notation) ?? this.#body)
    return { taken: at + taken, state: 'done' as const }
  }
}
