/** Flags of measurements and of the models that they compare. */
import { answerCommands, type Flag } from './flag.ts'

const suites = 'documents, code, turns, lm, chat, recall, questions or lambada'

/** The flags, in the order of the help. */
export const measureFlags = {
  suite: {
    value: 'texts',
    on: ['eval', 'bench'],
    about: `${suites}; may be repeated; default: all`,
    by: { bench: { about: `wire: ${suites}; may be repeated; default: lm` } },
  },
  methods: {
    value: 'texts',
    on: ['eval'],
    about:
      'predicted, refined, truncate, pop, swiftkv, attention, random or aux; may be repeated; default: all. swiftkv needs texts in the folder train of --data',
  },
  work: {
    value: 'wholes',
    min: 1,
    max: 100,
    on: ['eval'],
    about: 'percent of exact prefill’s work to compare at, such as 25,36,50; default: the predictor’s own',
  },
  cases: {
    value: 'whole',
    min: 1,
    on: ['eval', 'bench'],
    about: 'prompts for each suite and length; default 30',
    by: { bench: { about: 'wire: prompts for each suite and length; default 10' } },
  },
  lengths: {
    value: 'wholes',
    min: 1,
    on: ['eval', 'bench'],
    about: 'prompt lengths, such as 32,128,512,1024',
    by: { eval: { about: 'prompt lengths, such as 512,1024,2048,4096; default 512,1024' } },
  },
  resume: {
    value: 'file',
    on: ['eval'],
    about: 'keep the scores of each prompt in this file, and go on where an earlier run with it was',
  },
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
      eval: {
        about:
          'folder of the data sets, with eval/, prompts/ and, to leave out what was trained on, train/; default $FORETOKEN_DATA',
      },
      fit: { name: 'FILE', about: 'texts to fit from: JSON lines, JSON or plain, gzipped or not; may be repeated' },
      bench: { about: 'prepack, wire: folder of the named data sets; default $FORETOKEN_DATA' },
    },
  },
  base: { value: 'text', name: 'MODEL', on: ['fit', 'eval'], about: 'the model to predict for; same forms as --model' },
  aux: {
    value: 'text',
    on: [...answerCommands, 'fit', 'eval', 'serve', 'companion', 'bench'],
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
} as const satisfies Record<string, Flag>
