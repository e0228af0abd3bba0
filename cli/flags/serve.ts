/** Flags of servers. */
import { answerCommands, type Flag } from './flag.ts'

const cpuOrGpu = { value: ['wasm', 'webgpu'] } as const

/** The flags, in the order of the help. */
export const serveFlags = {
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
  keep: {
    value: 'whole',
    min: 1,
    max: 1000,
    on: ['serve'],
    about: 'most models in memory at once; default: as many as fit; models are then loaded when they are used',
  },
  idle: {
    value: 'duration',
    on: ['serve'],
    about: 'unload a model that nobody has used for this long, such as 10m; default: when another needs its place',
  },
  backend: {
    value: ['wasm', 'webgpu', 'llama'],
    on: [...answerCommands, 'embed', 'serve', 'companion', 'bench'],
    about: 'wasm (CPU) or webgpu (GPU; needs the package webgpu); default wasm',
    by: {
      embed: cpuOrGpu,
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
} as const satisfies Record<string, Flag>
