/**
 * The input of every engine: token ids from foretoken's tokenizer, so that all prefill the same.
 */

/** Returns a question in the model's chat template. */
export function question(engine) {
  return engine.promptIds('What is the capital of Norway?')
}

/** Returns for each length that many ids of plain prose, no two parts of it alike. */
export function prompts(engine, lengths) {
  let text = ''
  for (let n = 1; ; n++) {
    text += `Chapter ${n}. The ferry left the harbour at ${n} past noon with ${n * 7} people and a cargo of timber and salt. `
    const ids = engine.tokenize(text)
    if (ids.length >= Math.max(...lengths)) return lengths.map((length) => ids.slice(0, length))
  }
}
