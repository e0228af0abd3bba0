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
  file: { value: 'file', on: ['tokenize'], about: 'read the text from a file' },
  special: { on: ['tokenize'], about: 'parse special tokens in the text' },
  'max-download': {
    value: 'number',
    min: 0.001,
    on: [...engineCommands, 'deploy-prep', 'pull', 'inspect', 'tokenize'],
    about: 'largest file to download from an https:// address, in GB; default 16',
  },
  offline: {
    on: [...engineCommands, 'deploy-prep', 'pull', 'inspect', 'tokenize', 'doctor'],
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
