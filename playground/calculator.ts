/** Computes arithmetic expressions. The text is parsed here, and is never run as a program. */

/** An expression that has no value. Its message tells a model what to do about it. */
export class CalculatorError extends Error {}

/** Longest expression in characters, and deepest nesting of brackets, signs and powers. */
export const mostCharacters = 1000
export const deepest = 100

/**
 * Returns the value of an expression of numbers, `+ - * / ^ ** %`, brackets, `pi`, `e`, and
 * functions such as `sqrt` and `max`; angles are in radians. `a % b` is a remainder with the sign of
 * `b`, and a `%` that no operand follows is a percent sign. Throws a `CalculatorError` for what is
 * not an expression, and for one whose value is not a finite number.
 */
export function calculated(expression: string): number {
  if (expression.length > mostCharacters)
    throw new CalculatorError(`the expression has ${expression.length} characters; at most ${mostCharacters} are read`)
  return new Expression(expression).value()
}

/** Returns a number as a calculator shows it: 0.1 + 0.2 is 0.3. */
export function shownNumber(value: number): string {
  return String(Number.isSafeInteger(value) ? value + 0 : Number(value.toPrecision(15)))
}

const constants: Readonly<Record<string, number>> = { pi: Math.PI, π: Math.PI, tau: 2 * Math.PI, e: Math.E }

/** The functions, with the numbers of arguments that they take. */
const functions: Readonly<Record<string, readonly [of: (...values: number[]) => number, least: number, most: number]>> =
  {
    sqrt: [Math.sqrt, 1, 1],
    cbrt: [Math.cbrt, 1, 1],
    abs: [Math.abs, 1, 1],
    sign: [Math.sign, 1, 1],
    exp: [Math.exp, 1, 1],
    ln: [Math.log, 1, 1],
    log2: [Math.log2, 1, 1],
    log10: [Math.log10, 1, 1],
    sin: [Math.sin, 1, 1],
    cos: [Math.cos, 1, 1],
    tan: [Math.tan, 1, 1],
    asin: [Math.asin, 1, 1],
    acos: [Math.acos, 1, 1],
    atan: [Math.atan, 1, 1],
    floor: [Math.floor, 1, 1],
    ceil: [Math.ceil, 1, 1],
    trunc: [Math.trunc, 1, 1],
    // Halves are rounded away from zero, as in school.
    round: [(value) => Math.sign(value) * Math.round(Math.abs(value)), 1, 1],
    pow: [(base, exponent) => base ** exponent, 2, 2],
    mod: [remainder, 2, 2],
    hypot: [Math.hypot, 1, 64],
    min: [Math.min, 1, 64],
    max: [Math.max, 1, 64],
  }

/** Signs that people write for operators. */
const signs: Readonly<Record<string, string>> = { '×': '*', '·': '*', '÷': '/', '−': '-', '–': '-', '**': '^' }

interface Token {
  readonly kind: 'number' | 'name' | 'sign' | 'end'
  readonly text: string
}

/** Reads one expression by recursive descent. */
class Expression {
  readonly #tokens: readonly Token[]
  #at = 0
  #depth = 0

  constructor(text: string) {
    this.#tokens = tokensOf(text)
  }

  value(): number {
    const value = this.#sum()
    if (this.#next.kind !== 'end')
      throw new CalculatorError(`${shown(this.#next)} is not expected there${hint(this.#next)}`)
    return value
  }

  get #next(): Token {
    return this.#tokens[this.#at] ?? { kind: 'end', text: '' }
  }

  /** Takes the next token if it is this sign. */
  #takes(sign: string): boolean {
    const found = this.#next.kind === 'sign' && this.#next.text === sign
    if (found) this.#at++
    return found
  }

  #sum(): number {
    let value = this.#product()
    for (;;) {
      if (this.#takes('+')) value = finite(value + this.#product())
      else if (this.#takes('-')) value = finite(value - this.#product())
      else return value
    }
  }

  #product(): number {
    let value = this.#signed()
    for (;;) {
      if (this.#takes('*')) value = finite(value * this.#signed())
      else if (this.#takes('/')) value = quotient(value, this.#signed())
      else if (this.#takes('%')) value = remainder(value, this.#signed())
      else return value
    }
  }

  #signed(): number {
    // Every bracket, sign and power passes here.
    if (this.#depth++ > deepest) throw tooDeep()
    const value = this.#takes('-') ? -this.#signed() : this.#takes('+') ? this.#signed() : this.#power()
    this.#depth--
    return value
  }

  /** A power binds more tightly than a sign before it, and the exponent is read first. */
  #power(): number {
    const base = this.#percent()
    return this.#takes('^') ? finite(base ** this.#signed()) : base
  }

  #percent(): number {
    let value = this.#operand()
    while (this.#next.text === '%' && !this.#operandFollows()) {
      this.#at++
      value /= 100
    }
    return value
  }

  #operandFollows(): boolean {
    const { kind, text } = this.#tokens[this.#at + 1] ?? { kind: 'end', text: '' }
    return kind === 'number' || kind === 'name' || text === '('
  }

  #operand(): number {
    const token = this.#next
    this.#at++
    if (token.kind === 'number') return finite(Number(token.text))
    if (token.kind === 'name') return this.#named(token.text)
    if (token.text === '(') {
      const value = this.#sum()
      if (!this.#takes(')')) throw new CalculatorError('a closing bracket is missing')
      return value
    }
    throw new CalculatorError(
      token.kind === 'end' ? 'a number is missing at the end' : `a number is missing before ${shown(token)}`,
    )
  }

  #named(name: string): number {
    const plain = name.replace(/^math\./, '')
    if (!this.#takes('(')) {
      const value = Object.hasOwn(constants, plain) ? constants[plain] : undefined
      if (value !== undefined) return value
      throw new CalculatorError(`${name} is not known; the constants are pi, tau and e`)
    }
    const values: number[] = []
    if (!this.#takes(')')) {
      do values.push(this.#sum())
      while (this.#takes(','))
      if (!this.#takes(')')) throw new CalculatorError('a closing bracket is missing')
    }
    if (plain === 'log') throw new CalculatorError('log has several meanings; use ln, log2 or log10')
    const known = Object.hasOwn(functions, plain) ? functions[plain] : undefined
    if (!known)
      throw new CalculatorError(`${name} is not known; the functions are ${Object.keys(functions).join(', ')}`)
    const [of, least, most] = known
    if (values.length >= least && values.length <= most) return finite(of(...values))
    const wanted = most === 1 ? 'one number' : least === most ? `${least} numbers` : `${least} to ${most} numbers`
    throw new CalculatorError(`${name} takes ${wanted}, not ${values.length}`)
  }
}

function quotient(value: number, by: number): number {
  if (by === 0) throw new CalculatorError('division by zero')
  return finite(value / by)
}

/** No later step may hide that an earlier one has no value, as 1 / infinity would. */
function finite(value: number): number {
  if (Number.isFinite(value)) return value
  throw new CalculatorError(Number.isNaN(value) ? 'the result is not a real number' : 'a number is too large')
}

function remainder(value: number, by: number): number {
  if (by === 0) throw new CalculatorError('division by zero')
  const rest = value % by
  return rest !== 0 && rest < 0 !== by < 0 ? rest + by : rest
}

const pattern =
  /\s+|(?<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?<name>[a-zA-Zπ][\w.]*)|(?<sign>\*\*|[-+*/^%(),×·÷−–])|(?<other>[\s\S])/gu

function tokensOf(text: string): Token[] {
  const tokens: Token[] = []
  for (const { groups = {} } of text.matchAll(pattern)) {
    const { number, name, sign, other } = groups
    if (number !== undefined) tokens.push({ kind: 'number', text: number })
    if (name !== undefined) tokens.push({ kind: 'name', text: name.toLowerCase() })
    if (sign !== undefined) tokens.push({ kind: 'sign', text: signs[sign] ?? sign })
    if (other !== undefined) throw new CalculatorError(`${JSON.stringify(other)} is not part of an expression`)
  }
  return tokens
}

function shown({ kind, text }: Token): string {
  return kind === 'end' ? 'the end' : JSON.stringify(text)
}

function hint({ text }: Token): string {
  return text === ',' ? '; write numbers without commas' : text === ')' ? '' : '; write * for a product'
}

function tooDeep(): CalculatorError {
  return new CalculatorError(`it is nested too deep; at most ${deepest} levels are read`)
}
