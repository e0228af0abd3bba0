/** A JSON schema whose keywords are being rewritten, and where its references lead meanwhile. */
import { isSchema, type Schema } from './schema-chains.ts'

export class SchemaDocument {
  readonly root: Schema
  /** The keywords of which a reference leads into their value. */
  readonly pointsInto: ReadonlySet<string>
  /** The parts of a path that lead to what was moved away from a name of an object. */
  readonly #moved = new Map<object, Map<string, readonly string[]>>()

  /** `text` is that of `root`. */
  constructor(root: Schema, text: string) {
    this.root = root
    const parts = [...text.matchAll(/"\$ref"\s*:\s*"#([^"]*)"/g)].flatMap(([, path = '']) => path.split('/'))
    this.pointsInto = new Set(parts)
  }

  /** Says that what stood at a name of `from` is now at the end of `parts` from there. */
  move(from: object, name: string, parts: readonly string[]): void {
    const names = this.#moved.get(from) ?? new Map<string, readonly string[]>()
    this.#moved.set(from, names)
    names.set(name, parts)
  }

  /** Follows a plain path of the schema as it was written, such as `#/$defs/name`. */
  resolved(pointer: string): Schema | undefined {
    return this.#follow(pointer)?.schema
  }

  /** Returns the path that now leads where `pointer` led; the same if nothing on it was moved. */
  pointerNow(pointer: string): string {
    const found = this.#moved.size > 0 ? this.#follow(pointer) : undefined
    return found && found.parts.length > 0 ? `#/${found.parts.join('/')}` : pointer
  }

  #follow(pointer: string): { readonly schema: Schema; readonly parts: readonly string[] } | undefined {
    if (pointer === '#' || pointer === '#/') return { schema: this.root, parts: [] }
    if (!pointer.startsWith('#/')) return undefined
    const parts: string[] = []
    let value: unknown = this.root
    for (const name of pointer.slice(2).split('/'))
      for (const part of (typeof value === 'object' && value && this.#moved.get(value)?.get(name)) || [name]) {
        if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined
        value = (value as Record<string, unknown>)[part]
        parts.push(part)
      }
    return isSchema(value) ? { schema: value, parts } : undefined
  }
}
