/** Divides texts into paragraphs, which come again in other prompts in another order. */

/** A paragraph ends at a line without text. */
const gap = /\n[^\S\n]*\n\s*/g

/** Characters of which a text has fewer tokens than are worth keeping, whatever they are. */
const short = 8

/** Yields the paragraphs of a text, in order, without white space around them. */
export function* paragraphsOf(text: string): Generator<string, void, void> {
  let from = 0
  for (const { 0: found, index } of text.matchAll(gap)) {
    yield* paragraph(text.slice(from, index))
    from = index + found.length
  }
  yield* paragraph(text.slice(from))
}

function* paragraph(text: string): Generator<string, void, void> {
  const own = text.trim()
  if (own.length >= short) yield own
}
