/** Names that other servers and their clients have for fields of ours: of vLLM, llama.cpp, Ollama, Text Generation Inference and OpenAI itself. */

export type Form = 'chat' | 'completion' | 'response'

const anywhere = {
  repeat_penalty: 'repetition_penalty',
  stop_sequences: 'stop',
}

/** What a form's limit of an answer is called elsewhere. */
const limits = ['max_new_tokens', 'n_predict', 'num_predict']

const allTo = (names: readonly string[], field: string) => Object.fromEntries(names.map((name) => [name, field]))

/** Of each form: other names of its fields. A field by its own name goes before one by another. */
export const aliases: Readonly<Record<Form, Readonly<Record<string, string>>>> = {
  chat: { ...anywhere, ...allTo([...limits, 'max_output_tokens'], 'max_completion_tokens') },
  completion: {
    ...anywhere,
    ...allTo([...limits, 'max_completion_tokens', 'max_output_tokens'], 'max_tokens'),
    n_probs: 'logprobs',
  },
  response: { ...anywhere, ...allTo([...limits, 'max_tokens', 'max_completion_tokens'], 'max_output_tokens') },
}

/** Fields that go to the chat template, by its names for them. */
export const templateAliases: Readonly<Record<string, string>> = {
  enable_thinking: 'enable_thinking',
  think: 'enable_thinking',
}

/** What a form's parts of text are called by others. */
export const textParts: readonly string[] = ['text', 'input_text', 'output_text']

/** Other names of what an assistant thought. */
export const thoughts: readonly string[] = ['reasoning', 'thinking']
