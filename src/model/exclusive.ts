/** Runs work on a thing that exists once, one at a time and in the order of the calls. */
export class Exclusive {
  #last: Promise<void> = Promise.resolve()

  /**
   * Runs `work` when all earlier work has ended, whether it failed or not. Resolves and rejects as
   * `work` does.
   */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#last
    let free = () => {}
    this.#last = new Promise((resolve) => {
      free = resolve
    })
    await before
    try {
      return await work()
    } finally {
      free()
    }
  }
}
