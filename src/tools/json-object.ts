/** Reads one JSON object in pieces, as it is being written: its keys, and the text of its values. */

/** What the reader reports. */
export interface JsonObjectEvents {
  /** Called when the value of `key` goes on with `text`. */
  part(key: string, text: string): void
  /** Called when a value is complete; `text` is all of it. If it returns false, reading stops as `bad`. */
  value(key: string, text: string): boolean
}

type Place = 'open' | 'key' | 'next key' | 'in key' | 'colon' | 'value' | 'in value' | 'after' | 'done' | 'bad'

const closers: Readonly<Record<string, string>> = { '{': '}', '[': ']' }
const isSpace = (unit: string) => unit === ' ' || unit === '\n' || unit === '\r' || unit === '\t'

/**
 * Finds the keys and values of an object at its top level. Strings and brackets are checked, other
 * values only for their characters.
 */
export class JsonObjectReader {
  readonly #events: JsonObjectEvents
  #place: Place = 'open'
  #key = ''
  #value = ''
  /** The end of the value so far, which has not been reported. */
  #unreported = ''
  /** Brackets to close inside a value, the innermost last. */
  readonly #open: string[] = []
  #string = false
  #escaped = false

  constructor(events: JsonObjectEvents) {
    this.#events = events
  }

  /** `done`: the object has ended; `bad`: this is not an object in JSON. */
  get state(): 'reading' | 'done' | 'bad' {
    return this.#place === 'done' || this.#place === 'bad' ? this.#place : 'reading'
  }

  /** Reads on. Returns the number of UTF-16 units that belong to the object. */
  push(text: string): number {
    let at = 0
    while (at < text.length && this.state === 'reading') this.#step(text.charAt(at++))
    this.#report()
    return this.#place === 'bad' ? at - 1 : at
  }

  #report(): void {
    if (this.#unreported === '') return
    this.#events.part(this.#key, this.#unreported)
    this.#unreported = ''
  }

  #step(unit: string): void {
    switch (this.#place) {
      case 'open':
        this.#expect(unit, '{', 'key')
        break
      case 'key':
        if (unit === '}') this.#place = 'done'
        else this.#beginKey(unit)
        break
      case 'next key':
        this.#beginKey(unit)
        break
      case 'in key':
        this.#inKey(unit)
        break
      case 'colon':
        this.#expect(unit, ':', 'value')
        break
      case 'value':
        if (!isSpace(unit)) this.#beginValue(unit)
        break
      case 'in value':
        this.#inValue(unit)
        break
      case 'after':
        this.#follow(unit)
    }
  }

  #expect(unit: string, wanted: string, next: Place): void {
    if (unit === wanted) this.#place = next
    else if (!isSpace(unit)) this.#place = 'bad'
  }

  #beginKey(unit: string): void {
    this.#key = unit
    if (unit === '"') this.#place = 'in key'
    else if (!isSpace(unit)) this.#place = 'bad'
  }

  #inKey(unit: string): void {
    this.#key += unit
    if (this.#escaped) this.#escaped = false
    else if (unit === '\\') this.#escaped = true
    else if (unit === '"') {
      const key = stringIn(this.#key)
      this.#key = key ?? ''
      this.#place = key === undefined ? 'bad' : 'colon'
    }
  }

  #beginValue(unit: string): void {
    this.#place = /[-\w"{[]/.test(unit) ? 'in value' : 'bad'
    if (this.#place === 'bad') return
    this.#take(unit)
    this.#string = unit === '"'
    const closer = closers[unit]
    if (closer !== undefined) this.#open.push(closer)
  }

  #take(unit: string): void {
    this.#value += unit
    this.#unreported += unit
  }

  #inValue(unit: string): void {
    if (!this.#string && this.#open.length === 0 && !/[-+.\w]/.test(unit)) {
      // A number or a word ends before the next sign.
      this.#endValue()
      if (this.#place === 'after') this.#follow(unit)
      return
    }
    this.#take(unit)
    if (this.#string) this.#inString(unit)
    else if (unit === '"') this.#string = true
    else if (closers[unit] !== undefined) this.#open.push(closers[unit] ?? '')
    else if (unit === '}' || unit === ']') {
      if (this.#open.pop() !== unit) this.#place = 'bad'
      else if (this.#open.length === 0) this.#endValue()
    }
  }

  #inString(unit: string): void {
    if (this.#escaped) this.#escaped = false
    else if (unit === '\\') this.#escaped = true
    else if (unit === '"') {
      this.#string = false
      if (this.#open.length === 0) this.#endValue()
    }
  }

  #endValue(): void {
    this.#report()
    this.#place = this.#events.value(this.#key, this.#value) ? 'after' : 'bad'
    this.#value = ''
  }

  #follow(unit: string): void {
    if (unit === ',') this.#place = 'next key'
    else this.#expect(unit, '}', 'done')
  }
}

/** Returns the string that a JSON text stands for, or undefined if it is not a string in JSON. */
export function stringIn(text: string): string | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'string' ? value : undefined
  } catch {
    return undefined
  }
}
