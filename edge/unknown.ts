/** Finds the fields of a body that its schema does not name. */
import type { z } from '@hono/zod-openapi'

type Schema = z.core.$ZodTypes
type Fields = Readonly<Record<string, unknown>>
type Container = z.core.$ZodObject | z.core.$ZodArray

/**
 * Returns the paths of unknown fields, such as `messages[0].cache_control`: one for each kind of
 * place (the first message that has it), and at most `most`. It looks neither into unknown fields
 * nor into objects whose schema refuses unknown fields itself.
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
      const known = Object.hasOwn(def.shape, name) ? def.shape[name] : undefined
      if (known) look(known, field, deeper, deeperKind)
      else if (!strict && !found.has(deeperKind) && found.size < most) found.set(deeperKind, deeper)
    }
  }
}

/**
 * Returns the object or array schema that fits a value, looking through optional and nullable
 * schemas and choosing a union's branch; undefined if there is none.
 */
function fitting(schema: z.core.$ZodType, value: object): Container | undefined {
  const known = schema as Schema
  const { def } = known._zod
  switch (def.type) {
    case 'optional':
    case 'nullable':
      return fitting(def.innerType, value)
    case 'union': {
      const branches = def.options.map((option) => fitting(option, value)).filter((one) => one !== undefined)
      if (!('discriminator' in def))
        return (branches.length > 1 && branches.find((one) => accepts(one, value))) || branches[0]
      const name = def.discriminator as string
      return branches.find(
        ({ _zod: { def } }) => def.type === 'object' && accepts(def.shape[name], (value as Fields)[name]),
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

function accepts(schema: z.core.$ZodType | undefined, value: unknown): boolean {
  return schema !== undefined && (schema as z.ZodType).safeParse(value).success
}
