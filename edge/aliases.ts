/**
 * Other servers' and clients' names for our fields: vLLM's, llama.cpp's, Ollama's, Text Generation
 * Inference's and older ones of OpenAI.
 */

/** Requests of OpenAI's API. */
export type OpenAiForm = 'chat' | 'completion' | 'response'
/** Requests that compute something of many texts. */
export type TextsForm = 'embedding' | 'rerank'
/** Requests of Ollama's API: a chat, a text, a question about a model, and texts to embed. */
export type OllamaForm = 'ollamaChat' | 'ollamaText' | 'ollamaModel' | 'ollamaEmbed'
/** The kinds of requests; `message` is Anthropic's. */
export type Form = OpenAiForm | TextsForm | 'message' | OllamaForm

/** Returns true for a request of Ollama's API. */
export function isOllama(form: Form): form is OllamaForm {
  return form.startsWith('ollama')
}

const anywhere = {
  repeat_penalty: 'repetition_penalty',
  stop_sequences: 'stop',
}

/** Other names for the limit of an answer. */
const limits = ['max_new_tokens', 'n_predict', 'num_predict']

const allTo = (names: readonly string[], field: string) => Object.fromEntries(names.map((name) => [name, field]))

/** Aliases of each form's fields. The field's own name wins over an alias. */
export const aliases: Readonly<Record<Form, Readonly<Record<string, string>>>> = {
  chat: { ...anywhere, ...allTo([...limits, 'max_output_tokens'], 'max_completion_tokens') },
  completion: {
    ...anywhere,
    ...allTo([...limits, 'max_completion_tokens', 'max_output_tokens'], 'max_tokens'),
    n_probs: 'logprobs',
  },
  response: { ...anywhere, ...allTo([...limits, 'max_tokens', 'max_completion_tokens'], 'max_output_tokens') },
  embedding: { prompt_name: 'input_type' },
  rerank: { texts: 'documents', instruct: 'instruction', return_text: 'return_documents' },
  message: {
    repeat_penalty: 'repetition_penalty',
    stop: 'stop_sequences',
    ...allTo([...limits, 'max_completion_tokens', 'max_output_tokens'], 'max_tokens'),
  },
  ollamaChat: { name: 'model' },
  ollamaText: { name: 'model' },
  ollamaModel: { name: 'model' },
  ollamaEmbed: { name: 'model' },
}

/** Fields that are passed to the chat template, with the template's name for each. */
export const templateAliases: Readonly<Record<string, string>> = {
  enable_thinking: 'enable_thinking',
  think: 'enable_thinking',
}

/** The types that clients give to a part of text. */
export const textParts: readonly string[] = ['text', 'input_text', 'output_text']

/** Other names for an assistant's reasoning. */
export const thoughts: readonly string[] = ['reasoning', 'thinking']
