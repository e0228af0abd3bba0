/** Server-sent events as they come, with the time at which their last byte did. */

export interface TimedEvent {
  readonly data: string
  /** Of `performance.now()`. */
  readonly at: number
}

/** Comments and events without data are left out. */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<TimedEvent> {
  const decoder = new TextDecoder()
  let held = ''
  for await (const bytes of body) {
    const at = performance.now()
    const blocks = (held + decoder.decode(bytes, { stream: true })).split(/\r?\n\r?\n/)
    held = blocks.pop()!
    for (const block of blocks) {
      const data = block.split(/\r?\n/).flatMap((line) => /^data: ?(.*)$/.exec(line)?.[1] ?? [])
      if (data.length > 0) yield { data: data.join('\n'), at }
    }
  }
}
