/** Every command, with its operands and what it does. */
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
  doctor: { args: '', about: 'check what this machine has, and say what to do about what it lacks' },
  completion: { args: 'bash|zsh|fish', about: 'print a completion script for a shell' },
} as const

export type Command = keyof typeof commands
