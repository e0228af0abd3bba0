/** Gathers what an engine imports for its first embedding or ranking, so that a bundler makes one file of it. */
export { embed } from './embed.ts'
export { rerank } from './rerank.ts'
