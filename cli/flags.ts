/** Every command and flag, in one table: parsing, `--help` and shell completion are made from it. */
import type { Seed } from '../node/index.ts'

export const commands = {
  run: { args: 'PROMPT', about: 'answer one prompt (the default command)' },
  chat: { args: '', about: 'talk, turn by turn' },
  pull: { args: 'MODEL', about: 'fetch a model' },
  ls: { args: '', about: 'list the models that have been pulled' },
  rm: { args: 'MODEL', about: 'remove a pulled model' },
  inspect: { args: '[MODEL]', about: 'tell what a model file holds, and the memory it takes' },
  tokenize: { args: 'TEXT', about: "print a text's token ids" },
  batch: { args: 'IN.jsonl OUT.jsonl', about: 'answer a file of prompts; goes on where it was stopped' },
  prefix: { args: 'save|load FILE', about: 'keep the keys and values of a long beginning in a file' },
  fit: { args: '', about: 'make a KV predictor for a model' },
  eval: { args: '', about: 'judge a predictor beside exact prefill and cheaper ways' },
  serve: { args: '', about: 'answer OpenAI’s API over HTTP' },
  companion: { args: '', about: 'read prompts for edges: K and V, or whole answers' },
  'deploy-prep': { args: '', about: 'write what a Worker needs of a model, or tell why it cannot fit' },
  bench: {
    args: 'ttft|prefill|decode|modes|prepack|wire|load|replay TRACE|report [DIR]',
    about: 'measure this machine',
  },
  completion: { args: 'bash|zsh|fish', about: 'print a completion script for a shell' },
} as const

export type Command = keyof typeof commands

export interface Flag {
  readonly short?: string
  /** What the value is; absent for a switch. */
  readonly value?: 'text' | 'file' | 'whole' | 'number' | 'seed' | 'wholes' | 'texts' | readonly string[]
  readonly min?: number
  readonly max?: number
  readonly on: readonly Command[]
  readonly about: string
}

const engine = ['run', 'chat', 'batch', 'prefix', 'fit', 'eval', 'serve', 'companion', 'bench'] as const
const answers = ['run', 'chat', 'batch'] as const

export const flags = {
  model: {
    short: 'm',
    value: 'text',
    on: [...engine, 'deploy-prep', 'inspect', 'tokenize'],
    about:
      'alias, hf:owner/repo[/file], https://... or a path (of run, chat, serve: an ONNX folder, too); default smollm2-135m',
  },
  system: { value: 'text', on: ['run', 'chat', 'prefix'], about: 'system prompt, in place of the model’s own' },
  raw: { on: ['run', 'batch'], about: 'continue the text as it is, without the chat template' },
  'prompt-file': { value: 'file', on: ['run', 'prefix'], about: 'read the prompt from a file' },
  prefix: { value: 'file', on: answers, about: 'use the keys and values that `foretoken prefix save` wrote' },
  prefill: {
    value: ['exact', 'predicted', 'refined', 'auto'],
    on: [...answers, 'serve', 'bench'],
    about:
      'exact; predicted: first token early; refined: and exact soon after; auto: refined where it is sure; ' +
      'of bench prepack: all but exact time predicted batches, too',
  },
  predictor: {
    value: 'file',
    on: [...answers, 'eval', 'deploy-prep', 'serve', 'companion', 'bench'],
    about: 'predictor; default: the one that ships',
  },
  concurrency: {
    value: 'whole',
    min: 1,
    max: 1024,
    on: ['batch', 'bench'],
    about: 'prompts in flight; default 32; of bench load: clients, default 1',
  },
  'max-tokens': {
    short: 'n',
    value: 'whole',
    min: -1,
    on: [...answers, 'bench'],
    about: 'longest answer; default, and -1: what the context leaves; of bench load: 64',
  },
  url: { value: 'text', on: ['bench'], about: 'load: a server such as http://127.0.0.1:8787/v1; key: $OPENAI_API_KEY' },
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
  'presence-penalty': { value: 'number', min: -2, max: 2, on: answers, about: 'lower what the answer holds' },
  'frequency-penalty': { value: 'number', min: -2, max: 2, on: answers, about: 'lower it each time it is held' },
  'logit-bias': { value: 'texts', on: answers, about: 'ID=BIAS, from -100 to 100; may be repeated' },
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
    about: 'tokens of context; default: the model’s, at most 4096; deploy-prep 1024',
  },
  kv: {
    value: ['f32', 'f16', 'int8'],
    on: [...engine, 'deploy-prep'],
    about: 'how keys and values are stored; default f32, deploy-prep int8',
  },
  attention: {
    value: ['float', 'int'],
    on: engine,
    about: 'what attention computes in; int: int8, faster on long prompts, results differ a little; default float',
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
    about: 'lm, chat, recall, questions or lambada; may be repeated; default: all; of bench wire: lm',
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
    about: 'prompts of each suite and length; default 20, wire 10',
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
    on: ['fit', 'eval', 'bench'],
    about:
      'fit: file of texts, may be repeated; eval, prepack, wire: folder of the named sets, default $FORETOKEN_DATA',
  },
  base: { value: 'text', on: ['fit', 'eval'], about: 'the model to predict for, as --model' },
  aux: {
    value: 'text',
    on: [...answers, 'fit', 'eval', 'serve', 'companion', 'bench'],
    about: 'fit: predict from this smaller model; else: the smaller model that the predictor reads; named as --model',
  },
  reader: {
    value: 'text',
    on: ['run', 'chat', 'serve'],
    about: 'of an ONNX model: the same model for the Rust core, which predicts its K and V; named as --model',
  },
  'aux-layers': {
    value: 'texts',
    on: ['fit'],
    about: 'layers of --aux that make the smaller model, such as 0-3; may be repeated; default: all',
  },
  out: {
    value: 'file',
    on: ['fit', 'deploy-prep', 'bench'],
    about: 'the predictor file, or the folder, to write; of bench report: the page',
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
  port: { value: 'whole', min: 0, max: 65_535, on: ['serve'], about: 'default 8787; 0 takes any that is free' },
  host: {
    value: 'text',
    on: ['serve'],
    about: 'address to listen on; default 127.0.0.1; any other needs keys: of --config, or $FORETOKEN_API_KEY',
  },
  companion: {
    value: 'texts',
    on: ['serve'],
    about: 'address of a companion that may read prompts; its key: $FORETOKEN_COMPANION_KEY; may be repeated',
  },
  backend: {
    value: ['wasm', 'webgpu', 'llama'],
    on: [...answers, 'serve', 'companion', 'bench'],
    about:
      'what computes: the CPU by Wasm, or a GPU by WebGPU (Metal, Vulkan; needs the package webgpu); of companion: llama.cpp, too (node-llama-cpp); default wasm',
  },
  listen: { value: 'text', on: ['companion'], about: 'HOST:PORT; default 127.0.0.1:8788' },
  config: {
    value: 'file',
    on: ['serve', 'companion'],
    about:
      'JSON; serve: keys (by SHA-256), origins, hosts, limits, defaults, companions; companion: edges, limits, openai',
  },
  plot: {
    value: 'file',
    on: ['eval', 'bench'],
    about: 'write a chart as SVG; of bench: prepack, wire, replay; ttft and report: a folder of them',
  },
  file: { value: 'file', on: ['tokenize'], about: 'read the text from a file' },
  special: { on: ['tokenize'], about: 'read special tokens in the text as such' },
  'max-download': {
    value: 'number',
    min: 0.001,
    on: [...engine, 'deploy-prep', 'pull', 'inspect', 'tokenize'],
    about: 'largest file to fetch from an address, which promises no size, in GB; default 16',
  },
  offline: { on: [...engine, 'deploy-prep', 'pull', 'inspect', 'tokenize'], about: 'use only what is here' },
  json: {
    on: ['run', 'batch', 'prefix', 'fit', 'eval', 'deploy-prep', 'pull', 'ls', 'rm', 'inspect', 'tokenize', 'bench'],
    about: 'print one JSON object on stdout; an error is one JSON line on stderr',
  },
  help: { short: 'h', on: Object.keys(commands) as Command[], about: 'print this help' },
} as const satisfies Record<string, Flag>

export type FlagName = keyof typeof flags

type Value<F> = F extends { value: infer V }
  ? V extends 'text' | 'file'
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

/** The flags of a command, in the table's order. */
export function flagsOf(command: Command): [FlagName, Flag][] {
  return (Object.entries(flags) as [FlagName, Flag][]).filter(([, flag]) => flag.on.includes(command))
}
