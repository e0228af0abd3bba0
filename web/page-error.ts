/** Something that went wrong, in words for who looks at the page. */
export class PageError extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}
