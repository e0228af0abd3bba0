import { Callable, type Loop, type Value } from './value.ts'

/** Returns an attribute of `loop`, or undefined for an unknown one. */
export function loopAttribute(loop: Loop, name: string): Value {
  const { items, at } = loop
  switch (name) {
    case 'index':
      return at + 1
    case 'index0':
      return at
    case 'revindex':
      return items.length - at
    case 'revindex0':
      return items.length - at - 1
    case 'first':
      return at === 0
    case 'last':
      return at === items.length - 1
    case 'length':
      return items.length
    case 'previtem':
      return at > 0 ? items[at - 1] : undefined
    case 'nextitem':
      return items[at + 1]
    case 'depth':
      return loop.depth
    case 'depth0':
      return loop.depth - 1
    case 'cycle':
      return new Callable((args) => args[at % args.length])
    default:
      return undefined
  }
}
