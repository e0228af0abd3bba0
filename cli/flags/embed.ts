/** Flags that only `embed` has. */
import type { Flag } from './flag.ts'

/** The flags, in the order of the help. */
export const embedFlags = {
  jsonl: {
    on: ['embed'],
    about: 'each line is a JSON string, or an object with "text" and perhaps "id"; default for FILE.jsonl',
  },
  kind: {
    value: 'text',
    name: 'NAME',
    on: ['embed'],
    about: 'what the texts are: query, document, or another prompt in the model’s files',
  },
  'text-prefix': { value: 'text', on: ['embed'], about: 'put this before each text, in place of the model’s prompt' },
  pooling: {
    value: ['last', 'mean', 'cls'],
    on: ['embed'],
    about: 'how states become a vector; default: as the model’s files say',
  },
  dimensions: { value: 'whole', min: 1, on: ['embed'], about: 'keep the first N numbers of each vector; default: all' },
  'no-normalize': { on: ['embed'], about: 'do not scale vectors to length 1' },
} as const satisfies Record<string, Flag>
