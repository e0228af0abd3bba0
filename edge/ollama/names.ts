/** Names of models as Ollama writes them: `NAME:TAG`, where `latest` is the tag of a name without one. */

/**
 * Returns the model among `names` that a name means: itself, without or with `:latest`, or with a
 * dash for the colon, so that `smollm2:135m` means `smollm2-135m`. Returns undefined if there is
 * none.
 */
export function namedModel(name: string, names: readonly string[]): string | undefined {
  const plain = name.replace(/:latest$/, '')
  return [name, plain, tagged(name), plain.replace(':', '-')].find((one) => names.includes(one))
}

/** Returns a name with its tag. */
export function tagged(name: string): string {
  return name.includes(':') ? name : `${name}:latest`
}
