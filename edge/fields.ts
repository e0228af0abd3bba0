/** Names the field of a request that an argument of the library was read from, for the `param` of a refusal. */
import { guideNameOf, type NamedGuides } from '../src/index.ts'

type Shaped = NamedGuides & {
  readonly tools?: readonly unknown[] | null
  readonly tool_choice?: unknown
  readonly text?: { readonly format?: unknown } | null
  readonly output_config?: { readonly format?: unknown } | null
  readonly output_format?: unknown
}

/** Returns the field; undefined if the body has none for this argument. */
export function fieldOf(argument: string, body: object): string | undefined {
  const fields = body as Shaped
  switch (argument) {
    case 'tools':
      return 'tools'
    case 'toolChoice':
      return 'tool_choice'
    case 'kind':
      return fieldOf('input_type', fields)
    case 'texts':
      return fieldOf('input', fields) ?? fieldOf('prompt', fields)
    case 'guide':
      // The grammar of tools holds the shape of an answer without calls, too.
      return calls(fields) ? 'tools' : named(fields)
    case 'text_format':
      if (fields.text?.format) return 'text.format'
      return fields.output_format ? 'output_format' : 'output_config.format'
    default:
      return Object.hasOwn(fields, argument) ? argument : undefined
  }
}

function named(fields: Shaped): string | undefined {
  return (
    guideNameOf(fields) ??
    ((fields.text?.format ?? fields.output_config?.format ?? fields.output_format)
      ? fieldOf('text_format', fields)
      : undefined)
  )
}

function calls({ tools, tool_choice: choice }: Shaped): boolean {
  const none =
    choice === 'none' || (typeof choice === 'object' && choice !== null && 'type' in choice && choice.type === 'none')
  return (tools?.length ?? 0) > 0 && !none
}
