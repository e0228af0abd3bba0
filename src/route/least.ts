/**
 * Keeps the minimum of the latest values, for times that other work can lengthen but never shorten.
 */
export class Least {
  readonly #guess: number
  readonly #of: number
  readonly #last: number[] = []

  /** `of` is the number of values to keep. Until the first one, the result is `guess`. */
  constructor(guess: number, of: number) {
    this.#guess = guess
    this.#of = of
  }

  learn(value: number): void {
    if (!(value >= 0 && value < Number.POSITIVE_INFINITY)) return
    this.#last.push(value)
    if (this.#last.length > this.#of) this.#last.shift()
  }

  get value(): number {
    return this.#last.length === 0 ? this.#guess : Math.min(...this.#last)
  }
}
