/** Gathers what a workbench imports when it is used, so that a bundler makes one file of it. */
export { logitsAfter, logitsOfLayers } from '../evaluate/judge.ts'
export { logitsPlaced } from '../evaluate/placed.ts'
export { logitsPruned } from '../evaluate/pruned.ts'
export { logitsSent } from '../evaluate/sent.ts'
export { pop, swiftKv } from '../evaluate/skipped.ts'
export { fitSource } from './fit.ts'
