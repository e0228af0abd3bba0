/** Flags of the engine: its context, its memory and its threads. */
import { engineCommands, type Flag } from './flag.ts'

/** The flags, in the order of the help. */
export const engineFlags = {
  context: {
    short: 'c',
    value: 'whole',
    min: 2,
    on: [...engineCommands, 'deploy-prep'],
    about: 'tokens of context; default: the model’s, at most 4096',
    by: { 'deploy-prep': { about: 'tokens of context; default 1024' } },
  },
  'ignore-config': {
    value: 'texts',
    on: [...engineCommands, 'deploy-prep', 'inspect', 'tokenize'],
    about: 'run the model as if its configuration did not have this key; may be repeated',
  },
  kv: {
    value: ['f32', 'f16', 'int8'],
    on: [...engineCommands, 'deploy-prep'],
    about: 'how keys and values are stored; default f32',
    by: { 'deploy-prep': { about: 'how keys and values are stored; default int8' } },
  },
  threads: {
    value: 'whole',
    min: 1,
    max: 64,
    on: engineCommands,
    about: 'compute threads; default: the number of fast cores, at most 4',
  },
  attention: {
    value: ['auto', 'float', 'int'],
    on: engineCommands,
    about:
      'what attention over --kv int8 computes in: integers are faster behind long prompts and differ a little; default auto: integers where the build has them',
    by: {
      fit: {
        value: 'texts',
        about: 'layers whose attention alone predicted tokens run through, without the MLP; may be repeated',
      },
    },
  },
  build: {
    value: ['auto', 'simd128', 'relaxed'],
    on: engineCommands,
    about: 'build of the core; default auto, the fastest that computes correctly here',
  },
} as const satisfies Record<string, Flag>
