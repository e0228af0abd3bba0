/** `Promise.withResolvers` for Node 20, put into the bundles in its place. */
export function withResolvers() {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}
