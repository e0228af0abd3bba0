/**
 * Finds the calls in an answer while it streams. Text that could begin a call is held back; all
 * other text is passed on at once.
 */
import { type CallReader, callReader, isBegun } from './calls.ts'
import type { ToolFormat } from './format.ts'
import { beginningAtEnd } from './thinking.ts'

/** A part of an answer. Calls are numbered from 0, and their parts come in order. */
export type CallEvent =
  | { readonly type: 'content'; readonly text: string }
  | { readonly type: 'call'; readonly index: number; readonly name: string }
  | { readonly type: 'arguments'; readonly index: number; readonly text: string }
  | { readonly type: 'end'; readonly index: number }

/** What is read next: free text, a call or the end of a section, the inside of a call, what follows it. */
type Place = 'text' | 'section' | 'call' | 'after'

/**
 * Reads answers in one format. What begins as a call and is not one, or names a tool that is not
 * there, is content. The same text gives the same parts wherever it is divided, if adjacent parts
 * of one kind are joined.
 */
export class CallParser {
  readonly #format: ToolFormat
  readonly #names: ReadonlySet<string>
  readonly #required: boolean
  #events: CallEvent[] = []
  #place: Place = 'text'
  /** Text that has not been passed on or taken. */
  #held = ''
  /** Text taken since the last event, which is content if no call comes of it. */
  #taken = ''
  #reader: CallReader | undefined
  /** Whether the call that is being read has been reported. */
  #begun = false
  #inList = false
  /** Whether what is taken of the section makes sense: its last call is complete, or it has none. */
  #complete = false
  #calls = 0
  /** Where the text that is held begins. */
  #position = 0
  /** Where the text of each content began, in order. */
  readonly starts: number[] = []
  /** Whether nothing but white space has come: only here may a call come without its marker. */
  #start = true
  #final = false

  /** `names` are the tools that may be called; `required` if the answer is nothing but calls. */
  constructor(format: ToolFormat, names: Iterable<string>, required = false) {
    this.#format = format
    this.#names = new Set(names)
    this.#required = required
  }

  /** Number of calls that have begun. */
  get calls(): number {
    return this.#calls
  }

  /** Reads more text. Returns what is certain now. */
  push(text: string): CallEvent[] {
    this.#held += text
    while (this.#step());
    return this.#flush()
  }

  /**
   * Ends the answer. Returns the rest; a call that is not complete ends where the text does. If the
   * answer was `cut` short, what may be the beginning of a call is left out.
   */
  finish(cut = false): CallEvent[] {
    const inside = this.#place === 'section' || this.#place === 'after' || (this.#place === 'call' && !this.#begun)
    if (cut && (inside || (this.#required && this.#place === 'text'))) {
      this.#held = ''
      this.#taken = ''
      this.#place = 'text'
    } else if (cut && this.#place === 'text') {
      // A few signs may as well be text: a comparison, a bracket.
      const begun = beginningAtEnd(this.#held, this.#format.marker)
      if (begun > 3) this.#held = this.#held.slice(0, -begun).trimEnd()
    }
    this.#final = true
    while (this.#step());
    if (this.#place === 'call' && this.#begun) {
      this.#events.push({ type: 'end', index: this.#calls - 1 })
      this.#held = ''
    } else if (this.#place === 'call' || this.#place === 'section') this.#fail()
    // White space and separators behind the last call are no content.
    if (this.#place === 'text' && !(this.#calls > 0 && this.#held.trim() === '')) this.#content(this.#held)
    this.#held = ''
    return this.#flush()
  }

  #flush(): CallEvent[] {
    const events = this.#events
    this.#events = []
    return events
  }

  #content(text: string, at = this.#position): void {
    if (text === '') return
    this.#events.push({ type: 'content', text })
    this.starts.push(at)
  }

  /** Drops text from the beginning of what is held. */
  #drop(length: number): void {
    this.#held = this.#held.slice(length)
    this.#position += length
  }

  #take(length: number): void {
    this.#taken += this.#held.slice(0, length)
    this.#drop(length)
  }

  /** Returns what is taken to the text: it was no call. */
  #fail(): void {
    // What is taken ends where the held text begins.
    this.#content(this.#taken, this.#position - this.#taken.length)
    this.#taken = ''
    this.#place = 'text'
    this.#start = false
    this.#inList = false
    // The sign that ruled out a call is passed on, so that it is not tried again as a bare call.
    if (this.#final) {
      this.#content(this.#held)
      this.#held = ''
    }
  }

  /** Makes one step. Returns false if it needs more text. */
  #step(): boolean {
    switch (this.#place) {
      case 'text':
        return this.#readText()
      case 'section':
        return this.#readSection()
      case 'call':
        return this.#readCall()
      case 'after':
        return this.#readAfter()
    }
  }

  #readText(): boolean {
    const { marker, bare } = this.#format
    const found = this.#held.indexOf(marker)
    const space = this.#held.length - this.#held.trimStart().length
    if (bare && this.#start && this.#held.startsWith('{', space)) {
      this.#take(space)
      this.#beginCall()
      return true
    }
    if (this.#start && space < this.#held.length) this.#start = found === space
    if (found >= 0) {
      const before = this.#held.slice(0, found).trimEnd().length
      // White space between two sections is no content.
      if (before > 0) this.#content(this.#held.slice(0, before))
      this.#drop(before)
      this.#take(found - before + marker.length)
      this.#place = 'section'
      return true
    }
    const kept = this.#keptLength()
    this.#content(this.#held.slice(0, this.#held.length - kept))
    this.#drop(this.#held.length - kept)
    return false
  }

  /** Returns the length of the end of the text that may belong to a call: white space, and a beginning of the marker. */
  #keptLength(): number {
    const { marker } = this.#format
    const length = beginningAtEnd(this.#held, marker)
    const rest = this.#held.slice(0, this.#held.length - length)
    return this.#held.length - rest.trimEnd().length
  }

  #skipSpace(): void {
    this.#take(this.#held.length - this.#held.trimStart().length)
  }

  /** Reads what precedes a call in its section: a bracket, or the end of the section. */
  #readSection(): boolean {
    this.#skipSpace()
    if (this.#held === '') return false
    if (!this.#inList && this.#held.startsWith('[') && this.#takesList) {
      this.#take(1)
      this.#inList = true
      return true
    }
    if (this.#inList && this.#held.startsWith(']')) return this.#completed()
    const { end } = this.#format
    if (end !== '' && isBegun(end, this.#held) && !this.#final) return false
    // An empty section calls nothing.
    if (end !== '' && this.#held.startsWith(end)) return this.#completed()
    this.#beginCall()
    return true
  }

  #completed(): boolean {
    this.#complete = true
    this.#place = 'after'
    return true
  }

  get #takesList(): boolean {
    const { list, call } = this.#format
    return list || call.kind === 'object'
  }

  #beginCall(): void {
    this.#place = 'call'
    this.#begun = false
    this.#complete = false
    this.#reader = callReader(this.#format.call, {
      name: (name) => {
        if (!this.#names.has(name)) return false
        this.#begun = true
        this.#taken = ''
        this.#events.push({ type: 'call', index: this.#calls++, name })
        return true
      },
      arguments: (text) => {
        const index = this.#calls - 1
        if (text !== '') this.#events.push({ type: 'arguments', index, text })
      },
    })
  }

  #readCall(): boolean {
    const { taken, state } = this.#reader?.push(this.#held) ?? { taken: 0, state: 'bad' }
    this.#take(taken)
    if (this.#begun) this.#taken = ''
    if (state === 'reading') return false
    this.#reader = undefined
    if (this.#begun) this.#events.push({ type: 'end', index: this.#calls - 1 })
    if (state === 'done') return this.#completed()
    this.#fail()
    return true
  }

  /** Reads what follows a call: another one, the end of the list, the end of the section. */
  #readAfter(): boolean {
    const { end, list, together } = this.#format
    this.#skipSpace()
    if (this.#held === '') {
      if (this.#final) this.#leave()
      return false
    }
    if (this.#inList) {
      if (this.#held.startsWith(',')) return this.#follow(1, 'section')
      if (!this.#held.startsWith(']')) return this.#leave()
      this.#take(1)
      this.#inList = false
      return true
    }
    if (end === '') return this.#leave()
    if (this.#held.startsWith(end)) {
      this.#take(end.length)
      return this.#leave()
    }
    if (isBegun(end, this.#held) && !this.#final) return false
    // Without the list of its format, another call may follow at once.
    if (together && !list) return this.#follow(0, 'section')
    return this.#leave()
  }

  #follow(length: number, place: Place): boolean {
    this.#take(length)
    this.#place = place
    return true
  }

  /** Goes back to text. */
  #leave(): boolean {
    if (this.#complete) this.#taken = ''
    this.#fail()
    return true
  }
}
