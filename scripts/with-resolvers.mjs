/** Replaces `Promise.withResolvers` in the bundles, for Node 20. */
export function withResolvers() {
  const result = {}
  result.promise = new Promise((resolve, reject) => Object.assign(result, { resolve, reject }))
  return result
}
