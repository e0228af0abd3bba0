/** The flags that only `bench` has. */
import type { Flag } from '../flag.ts'

export const benchFlags = {
  runs: { value: 'whole', min: 1, max: 1000, on: ['bench'], about: 'timed runs; default 7, prepack 3' },
  dataset: {
    value: 'texts',
    on: ['bench'],
    about: 'prepack: a named data set, lognormal-MEAN-CV, uniform-MIN-MAX, or a file of prompts; may be repeated',
  },
  batch: { value: 'wholes', min: 1, on: ['bench'], about: 'prepack: batch sizes; default 4,16,64' },
  draws: { value: 'whole', min: 1, on: ['bench'], about: 'prepack: number of batches of each size; default 2' },
  scale: {
    value: 'number',
    min: 0,
    on: ['bench'],
    about: 'replay: factor for prompt lengths; default: makes the longest --most-prompt',
  },
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
  engines: {
    value: 'texts',
    on: ['bench'],
    about:
      'ttft: foretoken, webgpu, chromium, wllama, llama.cpp, onnx:FOLDER, transformers.js:FOLDER, or the address of an OpenAI-compatible endpoint; may be repeated',
  },
  modes: { value: 'texts', on: ['bench'], about: 'ttft: exact, predicted, refined; may be repeated; default: all' },
  against: {
    value: 'file',
    name: 'FOLDER',
    on: ['bench'],
    about: 'ttft: compare with the last record of this machine in this folder',
  },
  url: {
    value: 'text',
    name: 'URL',
    on: ['bench'],
    about: 'load: a server such as http://127.0.0.1:8787/v1; key: $OPENAI_API_KEY',
  },
} as const satisfies Record<string, Flag>
