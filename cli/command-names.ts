/** All commands, with their operands and a summary. */
export const commands = {
  run: { args: 'PROMPT', about: 'answer one prompt (the default command)' },
  chat: { args: '', about: 'chat with the model' },
  pull: { args: 'MODEL', about: 'download a model' },
  ls: { args: '', about: 'list the pulled models' },
  rm: { args: 'MODEL', about: 'remove a pulled model' },
  inspect: { args: '[MODEL]', about: 'describe a model file and the memory that it takes' },
  tokenize: { args: 'TEXT', about: 'print the token ids of a text' },
  embed: { args: 'TEXT', about: 'print vectors of texts as JSON lines, with an embedding model' },
  batch: { args: 'IN.jsonl OUT.jsonl', about: 'answer a file of prompts; resumes where it stopped' },
  prefix: {
    args: 'save|load FILE [TEXT...]',
    about: 'save the keys and values of a long prompt beginning, or of texts that come again, or check such a file',
  },
  fit: { args: '', about: 'make a KV predictor for a model' },
  eval: { args: '', about: 'compare a predictor with exact prefill and with cheaper methods' },
  serve: { args: '', about: 'serve OpenAI’s, Anthropic’s and Ollama’s APIs over HTTP' },
  companion: { args: '', about: 'compute prompts for edges: K and V, or whole answers' },
  'deploy-prep': { args: '', about: 'write a model for a Worker, or explain why it cannot fit' },
  bench: {
    args: 'ttft|prefill|decode|modes|prepack|wire|load|replay TRACE|report [DIR]',
    about: 'measure this machine',
  },
  doctor: { args: '', about: 'check what this machine has, and how to fix what it lacks' },
  completion: { args: 'bash|zsh|fish', about: 'print a completion script for a shell' },
} as const

export type Command = keyof typeof commands
