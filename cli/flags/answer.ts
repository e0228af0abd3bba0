/** Flags of answers: their length, and how tokens are chosen. */
import { answerCommands, type Flag } from './flag.ts'

/** The flags, in the order of the help. */
export const answerFlags = {
  'max-tokens': {
    short: 'n',
    value: 'whole',
    min: -1,
    on: [...answerCommands, 'bench'],
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
    on: answerCommands,
    about: '0 selects the likeliest token; default 0',
  },
  'top-k': { value: 'whole', min: 0, on: answerCommands, about: 'draw from the N likeliest tokens; 0 is all' },
  'top-p': {
    value: 'number',
    min: 0,
    max: 1,
    on: answerCommands,
    about: 'draw from the fewest tokens that reach this probability',
  },
  'min-p': {
    value: 'number',
    min: 0,
    max: 1,
    on: answerCommands,
    about: 'drop tokens less likely than this share of the likeliest',
  },
  'repetition-penalty': {
    value: 'number',
    min: 0,
    max: 10,
    on: answerCommands,
    about: 'above 1 avoids tokens that were seen',
  },
  'presence-penalty': {
    value: 'number',
    min: -2,
    max: 2,
    on: answerCommands,
    about: 'above 0 avoids tokens that are in the answer',
  },
  'frequency-penalty': {
    value: 'number',
    min: -2,
    max: 2,
    on: answerCommands,
    about: 'above 0 avoids tokens more the more often they are in the answer',
  },
  'logit-bias': {
    value: 'texts',
    name: 'ID=BIAS',
    on: answerCommands,
    about: 'add BIAS, from -100 to 100, to the logit of token ID; may be repeated',
  },
  seed: {
    value: 'seed',
    on: [...answerCommands, 'fit', 'eval', 'bench'],
    about: 'any 64-bit integer; the same seed gives the same draws',
  },
  stop: { value: 'texts', on: answerCommands, about: 'end the answer at this text; may be repeated' },
  'json-schema': {
    value: 'text',
    name: 'FILE|TYPE',
    on: answerCommands,
    about: 'answer in JSON that fits this schema, or of this type, such as object or integer',
  },
  choice: { value: 'texts', name: 'A,B', on: answerCommands, about: 'answer with one of these; may be repeated' },
  regex: { value: 'text', on: answerCommands, about: 'answer with what this regex matches as a whole' },
  grammar: { value: 'file', on: answerCommands, about: 'answer with what this grammar matches: Lark or GBNF' },
  tools: { on: ['chat'], about: 'give the model a calculator and a clock to call' },
  'tool-choice': {
    value: ['auto', 'required', 'none'],
    on: ['chat'],
    about: 'whether an answer begins with a call of a tool: as the model decides, always, or never; default auto',
  },
  'top-logprobs': {
    value: 'whole',
    min: 0,
    max: 100,
    on: ['run'],
    about: 'report this many of the likeliest tokens (--json)',
  },
  'ignore-eos': { on: ['run', 'batch'], about: 'continue past the end of the answer' },
} as const satisfies Record<string, Flag>
