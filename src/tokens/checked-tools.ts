/** Checks tools that programs pass in. */
import { oneOf, textOf, wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import type { ToolDefinition } from '../base/tool.ts'
import { toolFormatNames } from '../tools/format.ts'

/** Throws `bad_argument` if there are tools, or a format of calls, that make no sense. */
export function checkToolOptions({
  tools,
  toolFormat,
}: {
  readonly tools?: unknown
  readonly toolFormat?: unknown
}): void {
  if (tools !== undefined && tools !== null) checkTools(tools)
  if (toolFormat !== undefined && toolFormat !== null) oneOf('toolFormat', toolFormat, toolFormatNames)
}

/** Throws `bad_argument` unless `tools` are functions with different names. */
export function checkTools(tools: unknown): asserts tools is readonly ToolDefinition[] {
  if (!Array.isArray(tools)) throw wrong('tools', 'a list of functions', tools)
  const names = new Set<string>()
  for (const [index, tool] of tools.entries()) {
    if (typeof tool !== 'object' || tool === null) throw wrong(`tools[${index}]`, 'an object with a name', tool)
    const { name, description, parameters } = tool as Partial<ToolDefinition>
    const known = textOf(`tools[${index}].name`, name)
    if (!/^[\w.-]{1,64}$/.test(known))
      throw new ForetokenError(
        'bad_argument',
        `tools[${index}].name: a name has 1 to 64 letters, digits and signs of "_-."`,
      )
    if (names.has(known))
      throw new ForetokenError('bad_argument', `tools[${index}]: there are two tools named ${known}`)
    names.add(known)
    if (description !== undefined) textOf(`tools[${index}].description`, description)
    if (
      parameters !== undefined &&
      (typeof parameters !== 'object' || parameters === null || Array.isArray(parameters))
    )
      throw wrong(`tools[${index}].parameters`, 'a JSON schema of an object', parameters)
  }
}
