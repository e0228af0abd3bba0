/** The table of all flags, which defines parsing, `--help` and shell completion. */
import type { Seed } from '../node/index.ts'
import { type Command, commands } from './command-names.ts'

export { type Command, commands } from './command-names.ts'

export interface Flag {
  readonly short?: string
  /**
   * The kind of value; absent for a switch. `text-or-file` is a text, or `@FILE` for the text of a
   * file.
   */
  readonly value?:
    | 'text'
    | 'text-or-file'
    | 'file'
    | 'whole'
    | 'number'
    | 'seed'
    | 'wholes'
    | 'texts'
    | readonly string[]
  readonly min?: number
  readonly max?: number
  /** The value's name in the help, if its kind is not clear enough. */
  readonly name?: string
  readonly on: readonly Command[]
  readonly about: string
  /** Overrides for single commands; a command's help shows only its own. */
  readonly by?: Partial<Record<Command, Pick<Flag, 'value' | 'name'> & { readonly about?: string }>>
}

const engine = ['run', 'chat', 'batch', 'prefix', 'fit', 'eval', 'serve', 'companion', 'bench'] as const
const answers = ['run', 'chat', 'batch'] as const
const cpuOrGpu = { value: ['wasm', 'webgpu'] } as const
const modelOrOnnx =
  'an alias, hf:owner/repo[/file], https://... or a path (also of an ONNX folder); default smollm2-135m'

export const flags = {
  model: {
    short: 'm',
    value: 'text',
    name: 'MODEL',
    on: [...engine, 'deploy-prep', 'inspect', 'tokenize'],
    about: 'an alias, hf:owner/repo[/file], https://... or a path; default smollm2-135m',
    by: { run: { about: modelOrOnnx }, chat: { about: modelOrOnnx }, serve: { about: modelOrOnnx } },
  },
  prompt: { short: 'p', value: 'text-or-file', on: ['run'], about: 'the prompt, in place of an argument' },
  system: { value: 'text-or-file', on: ['run', 'chat', 'prefix'], about: 'system prompt; default: the model’s own' },
  raw: { on: ['run', 'batch'], about: 'continue the text without the chat template' },
  'prompt-file': { value: 'file', on: ['run', 'prefix'], about: 'read the prompt from a file' },
  prefix: { value: 'file', on: answers, about: 'use keys and values from a file of `foretoken prefix save`' },
  prefill: {
    value: ['exact', 'predicted', 'refined', 'auto'],
    on: [...answers, 'serve', 'bench'],
    about:
      'how the prompt is computed: exact; predicted, for an early first token; refined, predicted first and exact ' +
      'soon after; auto, refined where the predictor is confident and exact otherwise; default exact',
    by: {
      bench: {
        about: 'load: the mode that requests ask for; prepack: any mode but exact also times predicted batches',
      },
    },
  },
  predictor: {
    value: 'file',
    on: [...answers, 'eval', 'deploy-prep', 'serve', 'companion', 'bench'],
    about: 'the model’s predictor; default: the one included with foretoken',
  },
  concurrency: {
    value: 'whole',
    min: 1,
    max: 1024,
    on: ['batch', 'bench'],
    about: 'concurrent prompts; default 32',
    by: { bench: { about: 'load: number of clients; default 1' } },
  },
  'max-tokens': {
    short: 'n',
    value: 'whole',
    min: -1,
    on: [...answers, 'bench'],
    about: 'longest answer in tokens; default, and -1: the rest of the context',
    by: { bench: { about: 'load: longest answer in tokens; default 64' } },
  },
  url: {
    value: 'text',
    name: 'URL',
    on: ['bench'],
    about: 'load: a server such as http://127.0.0.1:8787/v1; key: $OPENAI_API_KEY',
  },
  temperature: {
    short: 't',
    value: 'number',
    min: 0,
    max: 100,
    on: answers,
    about: '0 selects the likeliest token; default 0',
  },
  'top-k': { value: 'whole', min: 0, on: answers, about: 'draw from the N likeliest tokens; 0 is all' },
  'top-p': {
    value: 'number',
    min: 0,
    max: 1,
    on: answers,
    about: 'draw from the fewest tokens that reach this probability',
  },
  'min-p': {
    value: 'number',
    min: 0,
    max: 1,
    on: answers,
    about: 'drop tokens less likely than this share of the likeliest',
  },
  'repetition-penalty': {
    value: 'number',
    min: 0,
    max: 10,
    on: answers,
    about: 'above 1 avoids tokens that were seen',
  },
  'presence-penalty': {
    value: 'number',
    min: -2,
    max: 2,
    on: answers,
    about: 'above 0 avoids tokens that are in the answer',
  },
  'frequency-penalty': {
    value: 'number',
    min: -2,
    max: 2,
    on: answers,
    about: 'above 0 avoids tokens more the more often they are in the answer',
  },
  'logit-bias': {
    value: 'texts',
    name: 'ID=BIAS',
    on: answers,
    about: 'add BIAS, from -100 to 100, to the logit of token ID; may be repeated',
  },
  seed: {
    value: 'seed',
    on: [...answers, 'fit', 'eval', 'bench'],
    about: 'any 64-bit integer; the same seed gives the same draws',
  },
  stop: { value: 'texts', on: answers, about: 'end the answer at this text; may be repeated' },
  'top-logprobs': {
    value: 'whole',
    min: 0,
    max: 100,
    on: ['run'],
    about: 'report this many of the likeliest tokens (--json)',
  },
  'ignore-eos': { on: ['run', 'batch'], about: 'continue past the end of the answer' },
  context: {
    short: 'c',
    value: 'whole',
    min: 2,
    on: [...engine, 'deploy-prep'],
    about: 'tokens of context; default: the model’s, at most 4096',
    by: { 'deploy-prep': { about: 'tokens of context; default 1024' } },
  },
  'ignore-config': {
    value: 'texts',
    on: [...engine, 'deploy-prep', 'inspect', 'tokenize'],
    about: 'run the model as if its configuration did not have this key; may be repeated',
  },
  kv: {
    value: ['f32', 'f16', 'int8'],
    on: [...engine, 'deploy-prep'],
    about: 'how keys and values are stored; default f32',
    by: { 'deploy-prep': { about: 'how keys and values are stored; default int8' } },
  },
  threads: {
    value: 'whole',
    min: 1,
    max: 64,
    on: engine,
    about: 'compute threads; default: the number of fast cores, at most 4',
  },
  build: {
    value: ['auto', 'simd128', 'relaxed'],
    on: engine,
    about: 'build of the core; default auto, the fastest that computes correctly here',
  },
  suite: {
    value: 'texts',
    on: ['eval', 'bench'],
    about: 'lm, chat, recall, questions or lambada; may be repeated; default: all',
    by: { bench: { about: 'wire: lm, chat, recall, questions or lambada; may be repeated; default: lm' } },
  },
  work: {
    value: 'wholes',
    min: 1,
    max: 100,
    on: ['eval'],
    about: 'percent of exact prefill’s work to compare at, such as 33,50,67; default: the predictor’s own',
  },
  cases: {
    value: 'whole',
    min: 1,
    on: ['eval', 'bench'],
    about: 'prompts for each suite and length; default 20',
    by: { bench: { about: 'wire: prompts for each suite and length; default 10' } },
  },
  lengths: { value: 'wholes', min: 1, on: ['eval', 'bench'], about: 'prompt lengths, such as 32,128,512,1024' },
  runs: { value: 'whole', min: 1, max: 1000, on: ['bench'], about: 'timed runs; default 7, prepack 3' },
  dataset: {
    value: 'texts',
    on: ['bench'],
    about: 'prepack: a named data set, lognormal-MEAN-CV, uniform-MIN-MAX, or a file of prompts; may be repeated',
  },
  data: {
    value: 'texts',
    name: 'FOLDER',
    on: ['fit', 'eval', 'bench'],
    about: 'folder of the named data sets; default $FORETOKEN_DATA',
    by: {
      fit: { name: 'FILE', about: 'texts to fit from: JSON lines, JSON or plain, gzipped or not; may be repeated' },
      bench: { about: 'prepack, wire: folder of the named data sets; default $FORETOKEN_DATA' },
    },
  },
  base: { value: 'text', name: 'MODEL', on: ['fit', 'eval'], about: 'the model to predict for; same forms as --model' },
  aux: {
    value: 'text',
    on: [...answers, 'fit', 'eval', 'serve', 'companion', 'bench'],
    name: 'MODEL',
    about: 'the smaller model that the predictor uses, if it uses one; same forms as --model',
    by: { fit: { about: 'predict from this smaller model; same forms as --model' } },
  },
  reader: {
    value: 'text',
    on: ['run', 'chat', 'serve'],
    name: 'MODEL',
    about: 'for an ONNX model: the same model for the Rust core, which predicts its K and V; same forms as --model',
  },
  'aux-layers': {
    value: 'texts',
    on: ['fit'],
    about: 'layers of --aux to use, such as 0-3; may be repeated; default: all',
  },
  out: {
    value: 'file',
    on: ['fit', 'deploy-prep', 'bench'],
    about: 'the predictor file to write',
    by: {
      'deploy-prep': { name: 'FOLDER', about: 'the folder to write to' },
      bench: { about: 'report: the page to write; default foretoken-report.html' },
    },
  },
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
  'no-predictor': { on: ['deploy-prep'], about: 'do not include a predictor' },
  'eight-bit-rows': {
    value: 'whole',
    min: 8,
    on: ['deploy-prep'],
    about: 'rows of the vocabulary matrix to keep in 8 bits, the others get 4; default: as many as fit',
  },
  'pass-tokens': { value: 'whole', min: 1, max: 4096, on: ['deploy-prep'], about: 'most tokens in a pass; default 32' },
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
  tokens: { value: 'whole', min: 1, on: ['fit'], about: 'tokens for each stage; default 80000' },
  ridge: {
    value: 'number',
    min: 0,
    on: ['fit'],
    about: 'regularization, as a share of the inputs’ variance; default 0.001',
  },
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
  port: {
    value: 'whole',
    min: 0,
    max: 65_535,
    on: ['serve', 'doctor'],
    about: 'port to listen on; default 8787; 0 is any free port',
  },
  host: {
    value: 'text',
    name: 'ADDRESS',
    on: ['serve'],
    about: 'address to listen on; default 127.0.0.1; any other needs keys, from --config or $FORETOKEN_API_KEY',
  },
  companion: {
    value: 'texts',
    name: 'URL',
    on: ['serve'],
    about: 'address of a companion that may compute prompts; key: $FORETOKEN_COMPANION_KEY; may be repeated',
  },
  backend: {
    value: ['wasm', 'webgpu', 'llama'],
    on: [...answers, 'serve', 'companion', 'bench'],
    about: 'wasm (CPU) or webgpu (GPU; needs the package webgpu); default wasm',
    by: {
      run: cpuOrGpu,
      chat: cpuOrGpu,
      batch: cpuOrGpu,
      serve: cpuOrGpu,
      bench: cpuOrGpu,
      companion: {
        about:
          'wasm (CPU), webgpu (GPU; needs the package webgpu) or llama (llama.cpp; needs node-llama-cpp); default wasm',
      },
    },
  },
  listen: {
    value: 'text',
    name: 'HOST:PORT',
    on: ['companion'],
    about: 'address to listen on; default 127.0.0.1:8788',
  },
  config: {
    value: 'file',
    on: ['serve', 'companion', 'doctor'],
    about: 'JSON: keys (by SHA-256), origins, hosts, limits, defaults, companions',
    by: {
      companion: { about: 'JSON: edges, limits, openai' },
      doctor: { about: 'also check this config of serve or companion' },
    },
  },
  plot: {
    value: 'file',
    on: ['eval', 'bench'],
    about: 'write a chart as SVG',
    by: {
      bench: { about: 'prepack, wire, replay: write a chart as SVG; ttft, report: write charts into this folder' },
    },
  },
  file: { value: 'file', on: ['tokenize'], about: 'read the text from a file' },
  special: { on: ['tokenize'], about: 'parse special tokens in the text' },
  'max-download': {
    value: 'number',
    min: 0.001,
    on: [...engine, 'deploy-prep', 'pull', 'inspect', 'tokenize'],
    about: 'largest file to download from an https:// address, in GB; default 16',
  },
  offline: {
    on: [...engine, 'deploy-prep', 'pull', 'inspect', 'tokenize', 'doctor'],
    about: 'use only files on this machine',
  },
  json: {
    on: [
      ...(['run', 'batch', 'prefix', 'fit', 'eval', 'deploy-prep', 'pull', 'ls', 'rm', 'inspect', 'tokenize'] as const),
      ...(['bench', 'doctor'] as const),
    ],
    about: 'print one JSON object on stdout; an error is one JSON line on stderr',
  },
  help: { short: 'h', on: Object.keys(commands) as Command[], about: 'print this help' },
} as const satisfies Record<string, Flag>

export type FlagName = keyof typeof flags

type Value<F> = F extends { value: infer V }
  ? V extends 'text' | 'text-or-file' | 'file'
    ? string
    : V extends 'seed'
      ? Seed
      : V extends 'whole' | 'number'
        ? number
        : V extends 'wholes'
          ? number[]
          : V extends 'texts'
            ? string[]
            : V extends readonly (infer S)[]
              ? S
              : never
  : boolean

export type Flags = { [N in FlagName]?: Value<(typeof flags)[N]> }

/** Returns the flags of a command, with its overrides applied, in the table's order. */
export function flagsOf(command: Command): [FlagName, Flag][] {
  const all = Object.entries(flags) as [FlagName, Flag][]
  return all
    .filter(([, flag]) => flag.on.includes(command))
    .map(([name, flag]) => [name, { ...flag, ...flag.by?.[command] }])
}
