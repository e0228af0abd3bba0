/** Fields of tools, which chats and responses share, and their two forms. */
import { harmless, notHere, only, refused, unsupported, z } from './common.ts'

/** Names as OpenAI allows them; a name is part of a grammar, and of formats without quotes. */
export const toolName = z
  .string()
  .regex(/^[\w.-]{1,64}$/, 'a name has 1 to 64 letters, digits and signs of "_-."')
  .openapi({ description: '1 to 64 letters, digits and signs of `_-.`' })

const callable = {
  name: toolName,
  description: z.string().nullish(),
  parameters: z
    .record(z.string(), z.unknown())
    .nullish()
    .openapi({ description: 'A JSON Schema of the arguments, which are one object.' }),
  strict: harmless('arguments always follow the schema'),
}

const functionType = z.literal('function', `${notHere}; the only tools are functions`)

/** A function in the form of chats. */
export const chatTool = z.object({ type: functionType, function: z.object(callable) }).openapi('ChatTool')

/** A function in the form of responses. */
export const responseTool = z.object({ type: functionType, ...callable }).openapi('ResponseTool')

const word = z.enum(['none', 'auto', 'required'])
const mode = z.enum(['auto', 'required'])

const chatNamed = z.object({ type: functionType.optional(), function: z.object({ name: toolName }) })
const responseNamed = z.object({ type: functionType, name: toolName })

/** `tool_choice` of chats. */
export const chatToolChoice = z.union([
  word,
  chatNamed,
  z.object({
    type: z.literal('allowed_tools'),
    allowed_tools: z.object({ mode, tools: z.array(chatNamed).max(128) }),
  }),
])

/** `tool_choice` of responses. */
export const responseToolChoice = z.union([
  word,
  responseNamed,
  z.object({ type: z.literal('allowed_tools'), mode, tools: z.array(responseNamed).max(128) }),
])

export const parallelToolCalls = z.boolean().nullish().openapi({
  description:
    'Whether an answer may call several tools at once. Default true, except for a model without a format of calls.',
})

/** Arguments of a call in a history: JSON in a string, as OpenAI has them, or the object itself. */
export const callArguments = z.union([z.string(), z.record(z.string(), z.unknown())])

/** A call in a chat's history. */
export const chatCall = z
  .object({
    id: z.string().max(256).nullish(),
    type: functionType.nullish(),
    index: harmless('calls are in order'),
    function: z.object({ name: toolName, arguments: callArguments.nullish() }),
  })
  .openapi('ChatToolCall')

/** The older form of tools. */
export const olderTools = {
  functions: refused('send `tools`'),
  function_call: only(z.enum(['none', 'auto'], unsupported), 'Refused; send `tool_choice`'),
}
