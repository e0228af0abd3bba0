/** Types of tools: functions that a model may ask its caller to run. */

/** A function that the model may call. */
export interface ToolDefinition {
  readonly name: string
  readonly description?: string | undefined
  /** A JSON Schema of the arguments, which are one object. Default: an object of any kind. */
  readonly parameters?: Readonly<Record<string, unknown>> | undefined
}

/** A call in a conversation, in the form that chat templates read. */
export interface ToolCall {
  readonly id?: string
  readonly type?: 'function'
  readonly function: { readonly name: string; readonly arguments: Readonly<Record<string, unknown>> }
}
