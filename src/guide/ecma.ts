/**
 * Translates regexes of ECMA-262, in which JSON schemas are written, into the syntax of the grammar
 * engine. The same text often means something else there: `.` and `\s` match other characters,
 * `[a&&b]` is an intersection, `\a` is a bell.
 */
import { ForetokenError } from '../base/errors.ts'
import { withoutLookAround } from './known-patterns.ts'

const lineEnds = '\\n\\r\\x{2028}\\x{2029}'
/** White space and line ends of ECMA-262. */
const space =
  '\\t\\n\\x{B}\\x{C}\\r\\x{20}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}\\x{FEFF}'
const sets: Readonly<Record<string, string>> = {
  d: '[0-9]',
  D: '[^0-9]',
  w: '[0-9A-Za-z_]',
  W: '[^0-9A-Za-z_]',
  s: `[${space}]`,
  S: `[^${space}]`,
}
const controls: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13 }

const bounds = /\{(\d{1,9})(?:(,)(\d{1,9})?)?\}/y
const open = /\((?:\?(?:i?:|(?:P?<([\p{L}\p{N}_$]+)>))?)?/uy
const hex =
  /x([0-9a-fA-F]{2})|u\{([0-9a-fA-F]{1,6})\}|u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})/y
const property = /[pP]\{[A-Za-z0-9_]+(?:=[A-Za-z0-9_]+)?\}/y

/**
 * Returns a regex of the same language in the engine's syntax. Beyond ECMA-262 it takes `(?P<name>...)`
 * and a leading `(?i)`, which schemas of Python have. Throws `bad_argument` for a malformed regex, and
 * `unsupported` for what has no equal, such as look-around (but for patterns that libraries write) and
 * back-references.
 */
export function engineRegex(pattern: string): string {
  return new Translation(withoutLookAround(pattern)).whole()
}

/** A member of a character class: a code point, or a set that is written already. */
type Member = number | string

class Translation {
  readonly #text: string
  #at = 0
  #out = ''

  constructor(text: string) {
    this.#text = text
  }

  whole(): string {
    if (this.#take('(?i)')) this.#out = '(?i)'
    let depth = 0
    // Whether what stands before may be repeated.
    let atom = false
    while (this.#at < this.#text.length) {
      const here = this.#text[this.#at] ?? ''
      if (here === '(') {
        depth++
        this.#group()
        atom = false
      } else if (here === ')') {
        if (depth-- === 0) throw this.#wrong('a group is closed that was not opened')
        this.#write(')')
        atom = true
      } else if ('|^$'.includes(here)) {
        this.#write(here)
        atom = false
      } else if ('*+?'.includes(here) || (here === '{' && this.#match(bounds))) {
        this.#repeat(atom)
        atom = false
      } else {
        if (here === '.') this.#write(`[^${lineEnds}]`)
        else if (here === '[') this.#class()
        else this.#out += written(this.#member(false))
        atom = true
      }
    }
    if (depth > 0) throw this.#wrong('a group is not closed')
    return this.#out
  }

  /** Writes a repetition. Whether it is greedy does not change the language. */
  #repeat(atom: boolean): void {
    if (!atom) throw this.#wrong('there is nothing to repeat')
    const found = this.#match(bounds)
    if (found?.[3] !== undefined && Number(found[3]) < Number(found[1]))
      throw this.#wrong('a repetition is in descending order')
    this.#write(found ? found[0] : (this.#text[this.#at] ?? ''), found?.[0].length)
    this.#take('?')
  }

  #group(): void {
    const [found = ''] = this.#match(open) ?? []
    if (found === '(?') {
      if (/^\(\?<?[=!]/.test(this.#text.slice(this.#at, this.#at + 4))) throw this.#unsupported('look-around')
      throw this.#unsupported('a group that sets flags')
    }
    this.#write(found === '(?i:' ? found : '(?:', found.length)
  }

  #class(): void {
    this.#at++
    const negated = this.#take('^')
    let members = ''
    while (!this.#take(']')) {
      const from = this.#member(true)
      const ranged = this.#text[this.#at] === '-' && !['', ']'].includes(this.#text[this.#at + 1] ?? '')
      if (!ranged || typeof from === 'string') {
        members += written(from)
        continue
      }
      this.#at++
      const to = this.#member(true)
      if (typeof to === 'number' && to < from) throw this.#wrong('a range of characters is in descending order')
      // Without the flag u a range to a set is its three parts.
      members += written(from) + (typeof to === 'number' ? '-' : written(0x2d)) + written(to)
    }
    if (members === '' && !negated) throw this.#wrong('a character class is empty')
    this.#out += members === '' ? '(?s:.)' : `[${negated ? '^' : ''}${members}]`
  }

  /** Reads a character, which may be escaped, or a set. */
  #member(inClass: boolean): Member {
    const code = this.#text.codePointAt(this.#at)
    if (code === undefined) throw this.#wrong('a character class is not closed')
    if (code === 0x7b && !inClass && /^\{,\d/.test(this.#text.slice(this.#at)))
      throw this.#wrong('a repetition has no lower bound; write {0,n}')
    this.#at += code > 0xffff ? 2 : 1
    return code === 0x5c ? this.#escape(inClass) : this.#scalar(code)
  }

  #escape(inClass: boolean): Member {
    const letter = this.#text[this.#at] ?? ''
    if (letter === '') throw this.#wrong('the pattern ends in a backslash')
    const found = this.#match(hex)
    if (found) {
      this.#at += found[0].length
      const [, two, braced, high, low, four] = found
      if (high === undefined || low === undefined) return this.#scalar(Number.parseInt(two ?? braced ?? four ?? '', 16))
      return 0x10000 + (Number.parseInt(high, 16) - 0xd800) * 0x400 + (Number.parseInt(low, 16) - 0xdc00)
    }
    const [named] = this.#match(property) ?? []
    this.#at += named?.length ?? 1
    if (named !== undefined) return `\\${named}`
    const known = sets[letter] ?? controls[letter]
    if (known !== undefined) return known
    if (letter === 'b' && inClass) return 8
    if (letter === 'b' || letter === 'B') throw this.#unsupported('a word boundary')
    if (letter === '0' && !/\d/.test(this.#text[this.#at] ?? '')) return 0
    if (letter === 'k' || /\d/.test(letter)) throw this.#unsupported('a back-reference')
    const control = this.#text[this.#at] ?? ''
    if (letter === 'c' && /[a-zA-Z]/.test(control)) {
      this.#at++
      return control.charCodeAt(0) % 32
    }
    if (/[a-zA-Z0-9]/.test(letter)) throw this.#wrong(`\\${letter} is not an escape of ECMA-262`)
    // Read whole, for it may be two units.
    this.#at--
    const plain = this.#text.codePointAt(this.#at) ?? 0
    this.#at += plain > 0xffff ? 2 : 1
    return this.#scalar(plain)
  }

  #scalar(code: number): number {
    if (code <= 0x10ffff && (code < 0xd800 || code > 0xdfff)) return code
    throw this.#wrong(`U+${code.toString(16).toUpperCase()} is not a character`)
  }

  #match(regex: RegExp): RegExpExecArray | null {
    regex.lastIndex = this.#at
    return regex.exec(this.#text)
  }

  #take(text: string): boolean {
    if (!this.#text.startsWith(text, this.#at)) return false
    this.#at += text.length
    return true
  }

  #write(text: string, length = 1): void {
    this.#out += text
    this.#at += length
  }

  #wrong(what: string): ForetokenError {
    return new ForetokenError('bad_argument', `regex, character ${this.#at}: ${what}`)
  }

  #unsupported(what: string): ForetokenError {
    return new ForetokenError('unsupported', `regex, character ${this.#at}: ${what} is not supported`)
  }
}

/** Writes a member as it is in a regex and in a class of it. */
function written(member: Member): string {
  if (typeof member === 'string') return member
  const character = String.fromCodePoint(member)
  return /[a-zA-Z0-9]/.test(character) ? character : `\\x{${member.toString(16).toUpperCase()}}`
}
