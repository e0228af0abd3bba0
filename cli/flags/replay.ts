/** Flags of benchmarks that send many requests. */
import type { Flag } from './flag.ts'

/** The flags, in the order of the help. */
export const replayFlags = {
  batch: { value: 'wholes', min: 1, on: ['bench'], about: 'prepack: batch sizes; default 4,16,64' },
  draws: { value: 'whole', min: 1, on: ['bench'], about: 'prepack: number of batches of each size; default 2' },
  scale: {
    value: 'number',
    min: 0,
    on: ['bench'],
    about: 'replay: factor for prompt lengths; default: makes the longest --most-prompt',
  },
  'most-prompt': { value: 'whole', min: 1, on: ['fit', 'bench'], about: 'longest prompt in tokens; default 1024' },
  'most-output': { value: 'whole', min: 1, on: ['bench'], about: 'replay: longest answer in tokens; default 1024' },
  requests: { value: 'whole', min: 1, on: ['bench'], about: 'replay, load: number of requests; default 100' },
  rate: { value: 'number', min: 0, on: ['bench'], about: 'replay, load: requests a second, in an open loop' },
  load: {
    value: 'number',
    min: 0,
    on: ['bench'],
    about: 'replay: rate as a share of the capacity of one request at a time; default 0.8',
  },
  'ttft-bound': {
    value: 'number',
    min: 0,
    on: ['bench'],
    about: 'replay: longest TTFT in ms that counts as good; default 1000',
  },
  'itl-bound': {
    value: 'number',
    min: 0,
    on: ['bench'],
    about: 'replay: longest time between tokens in ms that counts as good; default 100',
  },
  'prefix-pages': { value: 'whole', min: 0, on: ['bench'], about: 'replay: pages of the prefix cache; default 1024' },
} as const satisfies Record<string, Flag>
