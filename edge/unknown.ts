/** Which fields of a body its schema does not name. */
import type { z } from '@hono/zod-openapi'

type Schema = z.core.$ZodTypes
type Fields = Readonly<Record<string, unknown>>
type Container = z.core.$ZodObject | z.core.$ZodArray

/**
 * Their paths, such as `messages[0].cache_control`: one for each kind of place (of all messages the first that has it), at most `most`.
 * What lies within an unknown field is not looked at, nor objects that refuse unknown fields by themselves.
 */
export function unknownFields(schema: z.ZodType, body: unknown, most: number): string[] {
  const found = new Map<string, string>()
  look(schema, body, '', '')
  return [...found.values()]

  function look(schema: z.core.$ZodType, value: unknown, path: string, kind: string): void {
    if (found.size >= most || typeof value !== 'object' || value === null) return
    const inner = fitting(schema, value)
    if (!inner) return
    const { def } = inner._zod
    if (def.type === 'array') {
      for (const [index, item] of (value as readonly unknown[]).entries())
        look(def.element, item, `${path}[${index}]`, kind)
      return
    }
    const strict = def.catchall?._zod.def.type === 'never'
    for (const [name, field] of Object.entries(value as Fields)) {
      const [deeper, deeperKind] = path === '' ? [name, name] : [`${path}.${name}`, `${kind}.${name}`]
      if (Object.hasOwn(def.shape, name)) look(def.shape[name]!, field, deeper, deeperKind)
      else if (!strict && !found.has(deeperKind) && found.size < most) found.set(deeperKind, deeper)
    }
  }
}

/** The object or array that a schema has for a value: behind what may be absent, and of a union by its branch. */
function fitting(schema: z.core.$ZodType, value: object): Container | undefined {
  const known = schema as Schema
  const { def } = known._zod
  switch (def.type) {
    case 'optional':
    case 'nullable':
      return fitting(def.innerType, value)
    case 'union': {
      const branches = def.options.map((option) => fitting(option, value)).filter((one) => one !== undefined)
      if (!('discriminator' in def)) return branches[0]
      const name = def.discriminator as string
      return branches.find(
        ({ _zod: { def } }) => def.type === 'object' && takes(def.shape[name], (value as Fields)[name]),
      )
    }
    case 'array':
      return Array.isArray(value) ? (known as z.core.$ZodArray) : undefined
    case 'object':
      return Array.isArray(value) ? undefined : (known as z.core.$ZodObject)
    default:
      return undefined
  }
}

function takes(schema: z.core.$ZodType | undefined, value: unknown): boolean {
  return schema !== undefined && (schema as z.ZodType).safeParse(value).success
}
