/** Flags of downloads, input and output, which most commands have. */
import { type Command, commands } from '../command-names.ts'
import { engineCommands, type Flag } from './flag.ts'

/** The flags, in the order of the help. */
export const outputFlags = {
  plot: {
    value: 'file',
    on: ['eval', 'bench'],
    about: 'write a chart as SVG',
    by: {
      bench: { about: 'prepack, wire, replay: write a chart as SVG; ttft, report: write charts into this folder' },
    },
  },
  file: {
    value: 'file',
    on: ['tokenize', 'embed'],
    about: 'read the text from a file',
    by: { embed: { about: 'read texts from a file, one on each line' } },
  },
  special: { on: ['tokenize'], about: 'parse special tokens in the text' },
  'max-download': {
    value: 'number',
    min: 0.001,
    on: [...engineCommands, 'deploy-prep', 'pull', 'inspect', 'tokenize'],
    about: 'largest file to download from an https:// address, in GB; default 16',
  },
  'accept-license': {
    on: [...engineCommands, 'deploy-prep', 'pull', 'inspect', 'tokenize'],
    about: 'accept the licence of a model that asks for assent before it is downloaded',
  },
  available: { on: ['ls'], about: 'list the models that have a short name, and what fits this machine’s memory' },
  offline: {
    on: [...engineCommands, 'deploy-prep', 'pull', 'inspect', 'tokenize', 'doctor'],
    about: 'use only files on this machine',
  },
  json: {
    on: [
      ...([
        'run',
        'embed',
        'batch',
        'prefix',
        'fit',
        'eval',
        'deploy-prep',
        'pull',
        'ls',
        'rm',
        'inspect',
        'tokenize',
      ] as const),
      ...(['bench', 'doctor'] as const),
    ],
    about: 'print one JSON object on stdout; an error is one JSON line on stderr',
    by: { embed: { about: 'an error is one JSON line on stderr; vectors are JSON lines in any case' } },
  },
  help: { short: 'h', on: Object.keys(commands) as Command[], about: 'print this help' },
} as const satisfies Record<string, Flag>
