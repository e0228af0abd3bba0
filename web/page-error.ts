/** A failure with a message for the visitor. */
export class PageError extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}
