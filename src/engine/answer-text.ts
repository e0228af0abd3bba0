/** The text of one answer, token by token, up to a stop string. */
import { createStopMatcher } from '../decode/stop.ts'
import { createDetokenizer } from '../stream/detokenize.ts'
import type { Tokenizer } from '../tokens/tokenizer.ts'
import type { GenerateRequest } from './options.ts'

export class AnswerText {
  readonly #open: () => AnswerText
  readonly #detokenizer
  readonly #stops
  /** The text that was shown. */
  text = ''

  /** Throws `bad_argument` for stop strings that are out of their limits. */
  constructor(request: Pick<GenerateRequest, 'showSpecial' | 'stop'>, tokenizer: Tokenizer) {
    this.#open = () => new AnswerText(request, tokenizer)
    this.#detokenizer = createDetokenizer(tokenizer, { show: request.showSpecial && new Set(request.showSpecial) })
    this.#stops = createStopMatcher(request.stop ?? [])
  }

  /** The stop string that ended the text; undefined while none has. */
  get stop(): string | undefined {
    return this.#stops.found
  }

  /** Adds a token; undefined is one without text. Returns what it shows, and whether that ends the text. */
  push(id: number | undefined): { readonly text: string; readonly stopped: boolean } {
    const shown = this.#stops.push(id === undefined ? '' : this.#detokenizer.push(id))
    this.text += shown.text
    return shown
  }

  /** Returns the text that is still held back, at the end of an answer that was not stopped. */
  flush(): string {
    const rest = this.#stops.push(this.#detokenizer.flush()).text + this.#stops.flush()
    this.text += rest
    return rest
  }

  /** Returns the text of the same request with other tokens: none of them may end it. */
  again(ids: readonly number[]): AnswerText {
    const text = this.#open()
    for (const id of ids) text.push(id)
    return text
  }
}
