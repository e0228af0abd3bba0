/** Flags of what makes files: deployments and predictors. */
import type { Flag } from './flag.ts'

/** The flags, in the order of the help. */
export const makeFlags = {
  'no-predictor': { on: ['deploy-prep'], about: 'do not include a predictor' },
  'eight-bit-rows': {
    value: 'whole',
    min: 8,
    on: ['deploy-prep'],
    about: 'rows of the vocabulary matrix to keep in 8 bits, the others get 4; default: as many as fit',
  },
  'pass-tokens': { value: 'whole', min: 1, max: 4096, on: ['deploy-prep'], about: 'most tokens in a pass; default 32' },
  guides: { on: ['deploy-prep'], about: 'leave memory for answers with a shape, such as JSON of a schema' },
  streams: { value: 'whole', min: 1, max: 1024, on: ['deploy-prep'], about: 'concurrent requests; default 4' },
  'shard-mib': {
    value: 'whole',
    min: 1,
    max: 1024,
    on: ['deploy-prep'],
    about: 'largest file in MiB; default 24, because assets and KV allow 25',
  },
  'limit-mib': {
    value: 'whole',
    min: 1,
    on: ['deploy-prep'],
    about: 'most MiB of Wasm memory and JavaScript heap; default 120',
  },
  m: { value: 'whole', min: 1, on: ['fit'], about: 'first layers that predicted tokens run through; default 5 of 30' },
  budget: {
    value: 'number',
    min: 0.05,
    max: 1,
    on: ['fit'],
    about: 'search for the layers to run within this share of exact prefill’s work at --most-prompt tokens',
  },
  run: {
    value: 'texts',
    on: ['fit'],
    about: 'later layers that predicted tokens also run through; may be repeated; default 15-18 of 30',
  },
  taps: { value: 'whole', min: 0, max: 8, on: ['fit'], about: 'earlier positions that maps also read; default 0' },
  w: {
    value: 'whole',
    min: 1,
    max: 4096,
    on: ['fit'],
    about: 'least exact tokens at the end of a prompt; default 48',
  },
  'w-share': {
    value: 'number',
    min: 0,
    max: 0.9,
    on: ['fit'],
    about: 'least exact tokens at the end as a share of the prompt; default 1/6',
  },
  'w-most': {
    value: 'whole',
    min: 1,
    max: 1 << 20,
    on: ['fit'],
    about: 'most exact tokens at the end that --w-share may come to; default: no maximum',
  },
  tokens: {
    value: 'whole',
    min: 1,
    on: ['fit', 'eval'],
    about: 'tokens for each stage; default 80000',
    by: { eval: { about: 'swiftkv: tokens to fit from; default 20000' } },
  },
  ridge: {
    value: 'number',
    min: 0,
    on: ['fit'],
    about: 'regularization, as a share of the inputs’ variance; default 0.001',
  },
} as const satisfies Record<string, Flag>
