/** Flags of prompts: the model, the text, and how it is read. */
import { answerCommands, engineCommands, type Flag } from './flag.ts'

const modelOrOnnx =
  'a name of `ls --available`, hf:owner/repo[/file], https://... or a path (also of an ONNX folder); default smollm2-135m'
const anyModel = 'a name of `ls --available`, hf:owner/repo[/file], https://... or a path; default smollm2-135m'

/** The flags, in the order of the help. */
export const promptFlags = {
  model: {
    short: 'm',
    value: 'text',
    name: 'MODEL',
    on: [...engineCommands, 'deploy-prep', 'inspect', 'tokenize'],
    about: anyModel,
    by: {
      run: { about: modelOrOnnx },
      chat: { about: modelOrOnnx },
      batch: { about: `${anyModel}; may be repeated: lines choose with "model"`, many: true },
      serve: { about: `${modelOrOnnx}; may be repeated: requests choose by name`, many: true },
      embed: { about: 'an embedding model: a name of `ls --available`, hf:owner/repo[/file], https://... or a path' },
    },
  },
  prompt: { short: 'p', value: 'text-or-file', on: ['run'], about: 'the prompt, in place of an argument' },
  system: { value: 'text-or-file', on: ['run', 'chat', 'prefix'], about: 'system prompt; default: the model’s own' },
  raw: { on: ['run', 'batch'], about: 'continue the text without the chat template' },
  'prompt-file': { value: 'file', on: ['run', 'prefix'], about: 'read the prompt from a file' },
  chunks: {
    on: ['prefix'],
    about: 'save: the files after FILE are texts that come again in prompts; save the keys and values of each',
  },
  chunk: {
    value: 'texts',
    name: 'FILE',
    on: ['run', 'chat'],
    about:
      'put this text before the question, where its keys and values are placed if --prefix has them; prefill is then refined; may be repeated',
  },
  prefix: {
    value: 'texts',
    name: 'FILE',
    on: [...answerCommands, 'serve', 'deploy-prep'],
    about: 'use keys and values from a file of `foretoken prefix save`; may be repeated',
    by: {
      serve: { about: 'use the chunks of a file of `foretoken prefix save --chunks`; may be repeated' },
      'deploy-prep': { about: 'include the chunks of a file of `foretoken prefix save --chunks`; may be repeated' },
    },
  },
  prefill: {
    value: ['exact', 'predicted', 'refined', 'auto'],
    on: [...answerCommands, 'serve', 'bench'],
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
    on: [...answerCommands, 'eval', 'deploy-prep', 'serve', 'companion', 'bench'],
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
} as const satisfies Record<string, Flag>
