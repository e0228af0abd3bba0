/** Every flag, in one table: parsing, `--help` and shell completion are made from it. */
import type { Seed } from '../node/index.ts'
import { type Command, commands } from './command-names.ts'

export { type Command, commands } from './command-names.ts'

export interface Flag {
  readonly short?: string
  /** What the value is; absent for a switch. `prose` is a text, or `@FILE` for the text of a file. */
  readonly value?: 'text' | 'prose' | 'file' | 'whole' | 'number' | 'seed' | 'wholes' | 'texts' | readonly string[]
  readonly min?: number
  readonly max?: number
  /** The value's name in the help, where its kind says too little. */
  readonly name?: string
  readonly on: readonly Command[]
  readonly about: string
  /** What is different for a command: its help shows nothing of the others. */
  readonly by?: Partial<Record<Command, Pick<Flag, 'value' | 'name'> & { readonly about?: string }>>
}

const engine = ['run', 'chat', 'batch', 'prefix', 'fit', 'eval', 'serve', 'companion', 'bench'] as const
const answers = ['run', 'chat', 'batch'] as const
const cpuOrGpu = { value: ['wasm', 'webgpu'] } as const
const modelOrOnnx =
  'an alias, hf:owner/repo[/file], https://... or a path, of an ONNX folder, too; default smollm2-135m'

export const flags = {
  model: {
    short: 'm',
    value: 'text',
    name: 'MODEL',
    on: [...engine, 'deploy-prep', 'inspect', 'tokenize'],
    about: 'an alias, hf:owner/repo[/file], https://... or a path; default smollm2-135m',
    by: { run: { about: modelOrOnnx }, chat: { about: modelOrOnnx }, serve: { about: modelOrOnnx } },
  },
  prompt: { short: 'p', value: 'prose', on: ['run'], about: 'the prompt, as an argument would give it' },
  system: { value: 'prose', on: ['run', 'chat', 'prefix'], about: 'system prompt, in place of the model’s own' },
  raw: { on: ['run', 'batch'], about: 'continue the text as it is, without the chat template' },
  'prompt-file': { value: 'file', on: ['run', 'prefix'], about: 'read the prompt from a file' },
  prefix: { value: 'file', on: answers, about: 'use the keys and values that `foretoken prefix save` wrote' },
  prefill: {
    value: ['exact', 'predicted', 'refined', 'auto'],
    on: [...answers, 'serve', 'bench'],
    about:
      'how the prompt is read: exactly; predicted, for an early first token; refined, which is exact soon after; ' +
      'auto, which is refined where that is sure; default exact',
    by: { bench: { about: 'load: what requests ask for; prepack: all but exact time predicted batches, too' } },
  },
  predictor: {
    value: 'file',
    on: [...answers, 'eval', 'deploy-prep', 'serve', 'companion', 'bench'],
    about: 'the predictor of the model; default: the one that ships',
  },
  concurrency: {
    value: 'whole',
    min: 1,
    max: 1024,
    on: ['batch', 'bench'],
    about: 'prompts in flight; default 32',
    by: { bench: { about: 'load: clients; default 1' } },
  },
  'max-tokens': {
    short: 'n',
    value: 'whole',
    min: -1,
    on: [...answers, 'bench'],
    about: 'longest answer in tokens; default, and -1: what the context leaves',
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
    about: '0 takes the likeliest token; default 0',
  },
  'top-k': { value: 'whole', min: 0, on: answers, about: 'draw among the k likeliest; 0 is all' },
  'top-p': { value: 'number', min: 0, max: 1, on: answers, about: 'draw among the fewest that reach this probability' },
  'min-p': { value: 'number', min: 0, max: 1, on: answers, about: 'drop tokens below this share of the likeliest' },
  'repetition-penalty': { value: 'number', min: 0, max: 10, on: answers, about: 'above 1 avoids what was seen' },
  'presence-penalty': {
    value: 'number',
    min: -2,
    max: 2,
    on: answers,
    about: 'above 0 avoids tokens that the answer holds',
  },
  'frequency-penalty': {
    value: 'number',
    min: -2,
    max: 2,
    on: answers,
    about: 'above 0 avoids them more the more often it holds them',
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
    about: 'the same seed draws the same: any whole number of 64 bits',
  },
  stop: { value: 'texts', on: answers, about: 'end the answer at this text; may be repeated' },
  'top-logprobs': {
    value: 'whole',
    min: 0,
    max: 100,
    on: ['run'],
    about: 'report this many likeliest tokens (--json)',
  },
  'ignore-eos': { on: ['run', 'batch'], about: 'go on past the end of the answer' },
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
    about: 'run a model as if its configuration did not have this key; may be repeated',
  },
  kv: {
    value: ['f32', 'f16', 'int8'],
    on: [...engine, 'deploy-prep'],
    about: 'how keys and values are stored; default f32',
    by: { 'deploy-prep': { about: 'how keys and values are stored; default int8' } },
  },
  threads: { value: 'whole', min: 1, max: 64, on: engine, about: 'compute threads; default: fast cores, at most 4' },
  build: {
    value: ['auto', 'simd128', 'relaxed'],
    on: engine,
    about: 'build of the core; default: the fastest that is right here',
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
    about: 'percent of exact prefill’s work to compare at, such as 33,50,67; default: what the predictor takes',
  },
  cases: {
    value: 'whole',
    min: 1,
    on: ['eval', 'bench'],
    about: 'prompts of each suite and length; default 20',
    by: { bench: { about: 'wire: prompts of each suite and length; default 10' } },
  },
  lengths: { value: 'wholes', min: 1, on: ['eval', 'bench'], about: 'prompt lengths, such as 32,128,512,1024' },
  runs: { value: 'whole', min: 1, max: 1000, on: ['bench'], about: 'timed runs; default 7, prepack 3' },
  dataset: {
    value: 'texts',
    on: ['bench'],
    about: 'prepack: a set by name, lognormal-MEAN-CV, uniform-MIN-MAX, or a file of prompts; may be repeated',
  },
  data: {
    value: 'texts',
    name: 'FOLDER',
    on: ['fit', 'eval', 'bench'],
    about: 'folder of the named sets; default $FORETOKEN_DATA',
    by: {
      fit: { name: 'FILE', about: 'texts to fit from: JSON lines, JSON or plain, gzipped or not; may be repeated' },
      bench: { about: 'prepack, wire: folder of the named sets; default $FORETOKEN_DATA' },
    },
  },
  base: { value: 'text', name: 'MODEL', on: ['fit', 'eval'], about: 'the model to predict for, as --model' },
  aux: {
    value: 'text',
    on: [...answers, 'fit', 'eval', 'serve', 'companion', 'bench'],
    name: 'MODEL',
    about: 'the smaller model that the predictor reads, if it reads one; named as --model',
    by: { fit: { about: 'predict from this smaller model; named as --model' } },
  },
  reader: {
    value: 'text',
    on: ['run', 'chat', 'serve'],
    name: 'MODEL',
    about: 'for an ONNX model: the same model for the Rust core, which predicts its K and V; named as --model',
  },
  'aux-layers': {
    value: 'texts',
    on: ['fit'],
    about: 'layers of --aux that make the smaller model, such as 0-3; may be repeated; default: all',
  },
  out: {
    value: 'file',
    on: ['fit', 'deploy-prep', 'bench'],
    about: 'the predictor to write',
    by: {
      'deploy-prep': { name: 'FOLDER', about: 'where the files go' },
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
    about: 'ttft: a folder of records: what moved since the last of this machine',
  },
  'no-predictor': { on: ['deploy-prep'], about: 'leave the predictor out' },
  'eight-bit-rows': {
    value: 'whole',
    min: 8,
    on: ['deploy-prep'],
    about: 'rows of the vocabulary matrix that stay as they are, the others in 4 bits; default: as many as fit',
  },
  'pass-tokens': { value: 'whole', min: 1, max: 4096, on: ['deploy-prep'], about: 'tokens in a pass; default 32' },
  streams: { value: 'whole', min: 1, max: 1024, on: ['deploy-prep'], about: 'requests at once; default 4' },
  'shard-mib': {
    value: 'whole',
    min: 1,
    max: 1024,
    on: ['deploy-prep'],
    about: 'MiB of a file; default 24, for assets and KV, whose limit is 25',
  },
  'limit-mib': { value: 'whole', min: 1, on: ['deploy-prep'], about: 'MiB of wasm and JS heap; default 120' },
  m: { value: 'whole', min: 1, on: ['fit'], about: 'layers that predicted tokens run through first; default 5 of 30' },
  budget: {
    value: 'number',
    min: 0.05,
    max: 1,
    on: ['fit'],
    about: 'search the layers to run: at most this share of exact prefill’s work at --most-prompt tokens',
  },
  run: {
    value: 'texts',
    on: ['fit'],
    about: 'later layers that they run through, too; may be repeated; default 15-18 of 30',
  },
  taps: { value: 'whole', min: 0, max: 8, on: ['fit'], about: 'earlier positions that maps read, too; default 0' },
  w: {
    value: 'whole',
    min: 1,
    max: 4096,
    on: ['fit'],
    about: 'exact tokens at the end of a prompt, at least; default 48',
  },
  'w-share': {
    value: 'number',
    min: 0,
    max: 0.9,
    on: ['fit'],
    about: 'the same as a share of the prompt; default 1/6',
  },
  tokens: { value: 'whole', min: 1, on: ['fit'], about: 'tokens to fit each stage from; default 80000' },
  ridge: {
    value: 'number',
    min: 0,
    on: ['fit'],
    about: 'pull to zero, as a share of the inputs’ variance; default 0.001',
  },
  batch: { value: 'wholes', min: 1, on: ['bench'], about: 'prepack: batch sizes; default 4,16,64' },
  draws: { value: 'whole', min: 1, on: ['bench'], about: 'prepack: batches of each size; default 2' },
  scale: {
    value: 'number',
    min: 0,
    on: ['bench'],
    about: 'replay: prompt lengths times this; default: the longest is --most-prompt',
  },
  'most-prompt': { value: 'whole', min: 1, on: ['fit', 'bench'], about: 'longest prompt in tokens; default 1024' },
  'most-output': { value: 'whole', min: 1, on: ['bench'], about: 'replay: longest answer in tokens; default 1024' },
  requests: { value: 'whole', min: 1, on: ['bench'], about: 'replay, load: how many; default 100' },
  rate: { value: 'number', min: 0, on: ['bench'], about: 'replay, load: requests a second, whoever is done' },
  load: {
    value: 'number',
    min: 0,
    on: ['bench'],
    about: 'replay: the rate as a share of what one at a time can serve; default 0.8',
  },
  'ttft-bound': { value: 'number', min: 0, on: ['bench'], about: 'replay: ms that count as good; default 1000' },
  'itl-bound': { value: 'number', min: 0, on: ['bench'], about: 'replay: ms that count as good; default 100' },
  'prefix-pages': { value: 'whole', min: 0, on: ['bench'], about: 'replay: pages of finished prefixes; default 1024' },
  port: {
    value: 'whole',
    min: 0,
    max: 65_535,
    on: ['serve', 'doctor'],
    about: 'port to listen on; default 8787; 0 takes any that is free',
  },
  host: {
    value: 'text',
    name: 'ADDRESS',
    on: ['serve'],
    about: 'address to listen on; default 127.0.0.1; any other needs keys: of --config, or $FORETOKEN_API_KEY',
  },
  companion: {
    value: 'texts',
    name: 'URL',
    on: ['serve'],
    about: 'address of a companion that may read prompts; its key: $FORETOKEN_COMPANION_KEY; may be repeated',
  },
  backend: {
    value: ['wasm', 'webgpu', 'llama'],
    on: [...answers, 'serve', 'companion', 'bench'],
    about: 'what computes: the CPU by Wasm, or a GPU by WebGPU (needs the package webgpu); default wasm',
    by: {
      run: cpuOrGpu,
      chat: cpuOrGpu,
      batch: cpuOrGpu,
      serve: cpuOrGpu,
      bench: cpuOrGpu,
      companion: {
        about:
          'what computes: the CPU by Wasm, a GPU by WebGPU (needs the package webgpu), or llama.cpp (needs node-llama-cpp); default wasm',
      },
    },
  },
  listen: { value: 'text', name: 'HOST:PORT', on: ['companion'], about: 'where to listen; default 127.0.0.1:8788' },
  config: {
    value: 'file',
    on: ['serve', 'companion', 'doctor'],
    about: 'JSON: keys (by SHA-256), origins, hosts, limits, defaults, companions',
    by: {
      companion: { about: 'JSON: edges, limits, openai' },
      doctor: { about: 'check this config of serve or companion, too' },
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
  special: { on: ['tokenize'], about: 'read special tokens in the text as such' },
  'max-download': {
    value: 'number',
    min: 0.001,
    on: [...engine, 'deploy-prep', 'pull', 'inspect', 'tokenize'],
    about: 'largest file to fetch from an https:// address, in GB; default 16',
  },
  offline: { on: [...engine, 'deploy-prep', 'pull', 'inspect', 'tokenize', 'doctor'], about: 'use only what is here' },
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
  ? V extends 'text' | 'prose' | 'file'
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

/** The flags of a command, as they are for it, in the table's order. */
export function flagsOf(command: Command): [FlagName, Flag][] {
  const all = Object.entries(flags) as [FlagName, Flag][]
  return all
    .filter(([, flag]) => flag.on.includes(command))
    .map(([name, flag]) => [name, { ...flag, ...flag.by?.[command] }])
}
