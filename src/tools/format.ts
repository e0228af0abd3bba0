/**
 * How model families write calls of tools. A format is data: its markers, and the shape of a call.
 * The writer, the parser, the grammar and the detection read the same data.
 */

/** The names of the formats, for callers who choose one. */
export const toolFormatNames = [
  'hermes',
  'smollm2',
  'llama3',
  'mistral',
  'mistral-args',
  'phi4-mini',
  'granite',
  'lfm2',
  'deepseek',
  'gemma',
  'generic',
] as const

/** The name of a format of calls. */
export type ToolFormatName = (typeof toolFormatNames)[number]

/** How calls are written. White space between the parts is the maker's when written, and free when read. */
export interface ToolFormat {
  readonly name: ToolFormatName
  /** Text that begins a section of calls. */
  readonly marker: string
  /** Text that ends the section; '' if the section ends with its calls. */
  readonly end: string
  /** White space after the marker and before the end. */
  readonly inside: string
  /** Whether the calls of a section are a list in brackets. */
  readonly list: boolean
  /** Text between two calls: in the list, or between two sections. */
  readonly between: string
  /** Whether all calls of an answer are in one section. */
  readonly together: boolean
  /** Whether an answer may call more than one tool at once. */
  readonly parallel: boolean
  /** Whether an answer that begins with a call needs no marker; calls are written without it then. */
  readonly bare: boolean
  readonly call: CallShape
}

/** How one call is written. */
export type CallShape =
  /** A JSON object with the name, and the arguments under this key; perhaps a call in Python instead. */
  | { readonly kind: 'object'; readonly key: 'arguments' | 'parameters'; readonly python?: true }
  /** The name between two texts, then the arguments as JSON, then a third text. */
  | { readonly kind: 'tagged'; readonly before: string; readonly middle: string; readonly after: string }
  /** A call in Python with named arguments. */
  | { readonly kind: 'python' }
  /** `call:NAME{key:value}`, with strings between two `quote` and names without quotes. */
  | { readonly kind: 'bare-keys'; readonly quote: string }

const base = {
  inside: '',
  list: false,
  between: '',
  together: false,
  parallel: true,
  bare: false,
} as const

const object = { kind: 'object', key: 'arguments' } as const

/** A JSON object in tags for each call: Hermes, Qwen, SmolLM3 and Granite 4. */
const hermes: ToolFormat = {
  ...base,
  name: 'hermes',
  marker: '<tool_call>',
  end: '</tool_call>',
  inside: '\n',
  between: '\n',
  call: object,
}

/** The formats, each before those that would also fit its calls. */
export const toolFormats: Readonly<Record<ToolFormatName, ToolFormat>> = {
  hermes,
  smollm2: {
    ...base,
    name: 'smollm2',
    marker: '<tool_call>',
    end: '</tool_call>',
    list: true,
    between: ', ',
    together: true,
    call: object,
  },
  'mistral-args': {
    ...base,
    name: 'mistral-args',
    marker: '[TOOL_CALLS]',
    end: '',
    call: { kind: 'tagged', before: '', middle: '[ARGS]', after: '' },
  },
  mistral: {
    ...base,
    name: 'mistral',
    marker: '[TOOL_CALLS]',
    end: '',
    list: true,
    between: ', ',
    together: true,
    call: object,
  },
  'phi4-mini': {
    ...base,
    name: 'phi4-mini',
    marker: '<|tool_call|>',
    end: '<|/tool_call|>',
    list: true,
    between: ', ',
    together: true,
    call: object,
  },
  granite: {
    ...base,
    name: 'granite',
    marker: '<|tool_call|>',
    end: '',
    list: true,
    between: ', ',
    together: true,
    call: object,
  },
  lfm2: {
    ...base,
    name: 'lfm2',
    marker: '<|tool_call_start|>',
    end: '<|tool_call_end|>',
    list: true,
    between: ', ',
    together: true,
    call: { kind: 'python' },
  },
  deepseek: {
    ...base,
    name: 'deepseek',
    marker: '<｜tool▁calls▁begin｜>',
    end: '<｜tool▁calls▁end｜>',
    between: '\n',
    together: true,
    call: {
      kind: 'tagged',
      before: '<｜tool▁call▁begin｜>function<｜tool▁sep｜>',
      middle: '\n```json\n',
      after: '\n```<｜tool▁call▁end｜>',
    },
  },
  gemma: {
    ...base,
    name: 'gemma',
    marker: '<start_function_call>',
    end: '<end_function_call>',
    call: { kind: 'bare-keys', quote: '<escape>' },
  },
  llama3: {
    ...base,
    name: 'llama3',
    marker: '<|python_tag|>',
    end: '',
    parallel: false,
    bare: true,
    call: { kind: 'object', key: 'parameters', python: true },
  },
  generic: { ...hermes, name: 'generic' },
}

/** Returns the texts that must be shown although they may be special tokens of the model. */
export function markersOf({ marker, end, call }: ToolFormat): string[] {
  const tagged = call.kind === 'tagged' ? [...call.before.split('function'), call.middle, call.after] : []
  const quotes = call.kind === 'bare-keys' ? [call.quote] : []
  return [marker, end, ...tagged, ...quotes].map((text) => text.replace(/^\s*(```)?(json)?\s*/, '')).filter(Boolean)
}
