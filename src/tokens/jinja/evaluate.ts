/**
 * Runs a parsed template as Jinja does in Hugging Face's `apply_chat_template`, within a budget, on
 * strings that record who wrote them (origin.ts). All values that a template creates are created
 * here or in the files beside it, and are counted first.
 */
import { at } from '../../base/at.ts'
import { applyFilter, lengthOf } from './filters.ts'
import { loopAttribute } from './loop-variable.ts'
import { isStatement, nameOf, nodes, numeric, operatorOf, sliceOf } from './nodes.ts'
import type { Node, Program } from './parse.ts'
import { dictMethod, repeated, stringMethod } from './strings.ts'
import { isIn, passesTest } from './tests.ts'
import { Callable, type Key, Loop, Namespace, Real, typeName, type Value } from './value.ts'
import type { Values } from './values.ts'

class Scope {
  readonly names = new Map<string, Value>()
  readonly parent: Scope | undefined

  constructor(parent?: Scope) {
    this.parent = parent
  }

  get(name: string): Value {
    for (let scope: Scope | undefined = this; scope; scope = scope.parent)
      if (scope.names.has(name)) return scope.names.get(name)
    return undefined
  }
}

/** Thrown by `break` and `continue` to leave a loop's body. */
class LoopControl extends Error {
  readonly ends: boolean
  /** Output of the loop's body up to that point. */
  text = ''
  constructor(ends: boolean) {
    super('outside a loop')
    this.ends = ends
  }
}

/**
 * Returns the marked text that the template produces. Throws whatever the template raises, and
 * `OverBudget`.
 */
export function evaluateTemplate(values: Values, program: Program, globals: ReadonlyMap<string, Value>): string {
  const scope = new Scope()
  for (const [name, value] of globals) scope.names.set(name, value)
  return new Evaluation(values).block(program.body, scope)
}

class Evaluation {
  readonly #values: Values
  #loops = 0

  constructor(values: Values) {
    this.#values = values
  }

  block(body: readonly Node[], scope: Scope): string {
    let text = ''
    for (const node of body) {
      const output = this.#output(node, scope, text)
      text = this.#values.joined(text, output)
    }
    return text
  }

  #output(node: Node, scope: Scope, before: string): string {
    if (!isStatement(node)) return this.#values.text(this.#value(node, scope))
    try {
      return this.#statement(node, scope)
    } catch (control) {
      if (control instanceof LoopControl) control.text = before + control.text
      throw control
    }
  }

  #statement(node: Node, scope: Scope): string {
    return this.#counted(() => {
      switch (node.type) {
        case 'Set':
          this.#set(node, scope)
          return ''
        case 'If':
          return this.block(nodes(this.#truth(node.test, scope) ? node.body : node.alternate), scope)
        case 'For':
          return this.#for(node, scope)
        case 'Macro':
          scope.names.set(nameOf(node.name), this.#macro(nodes(node.args), nodes(node.body), scope))
          return ''
        case 'CallStatement': {
          const caller = this.#macro(nodes(node.callerArgs ?? []), nodes(node.body), scope)
          return this.#values.text(this.#call(node.call as Node, scope, caller))
        }
        case 'FilterStatement':
          return this.#values.text(
            this.#filter(node.filter as Node, this.block(nodes(node.body), new Scope(scope)), scope),
          )
        case 'Break':
          throw new LoopControl(true)
        case 'Continue':
          throw new LoopControl(false)
        default:
          return ''
      }
    })
  }

  #value(node: Node | undefined, scope: Scope): Value {
    if (!node) return undefined
    return this.#counted(() => this.#expression(node, scope))
  }

  #counted<T>(run: () => T): T {
    const { budget } = this.#values
    budget.enter()
    try {
      return run()
    } finally {
      budget.leave()
    }
  }

  #expression(node: Node, scope: Scope): Value {
    switch (node.type) {
      case 'Identifier':
        return scope.get(node.value as string)
      case 'StringLiteral':
        return (node.value as string).toWellFormed()
      case 'IntegerLiteral':
        return node.value as number
      case 'FloatLiteral':
        return new Real(node.value as number)
      case 'ArrayLiteral':
      case 'TupleLiteral':
        return nodes(node.value).map((item) => this.#value(item, scope))
      case 'ObjectLiteral':
        return new Map(
          [...(node.value as Map<Node, Node>)].map(([key, item]) => [this.#key(key, scope), this.#value(item, scope)]),
        )
      case 'MemberExpression':
        return this.#member(node, scope)
      case 'CallExpression':
        return this.#call(node, scope)
      case 'FilterExpression':
        return this.#filter(node.filter as Node, this.#value(node.operand as Node, scope), scope)
      case 'TestExpression': {
        const passes = passesTest(this.#values, nameOf(node.test), this.#value(node.operand as Node, scope), [])
        return passes !== node.negate
      }
      case 'UnaryExpression':
        return this.#unary(operatorOf(node), this.#value(node.argument as Node, scope))
      case 'BinaryExpression':
        return this.#binary(node, scope)
      case 'Ternary':
        return this.#value((this.#truth(node.condition, scope) ? node.trueExpr : node.falseExpr) as Node, scope)
      case 'SelectExpression':
        return this.#truth(node.test, scope) ? this.#value(node.lhs as Node, scope) : undefined
      default:
        throw new Error(`${node.type} is not known`)
    }
  }

  #truth(node: unknown, scope: Scope): boolean {
    return this.#values.truth(this.#value(node as Node, scope))
  }

  #key(node: Node, scope: Scope): Key {
    const key = this.#value(node, scope)
    if (typeof key === 'string' || typeof key === 'number') return key
    throw new Error(`a dict's key is ${typeName(key)}`)
  }

  #set(node: Node, scope: Scope): void {
    const value = node.value ? this.#value(node.value as Node, scope) : this.block(nodes(node.body), new Scope(scope))
    this.#assign(node.assignee as Node, value, scope)
  }

  #assign(target: Node, value: Value, scope: Scope): void {
    if (target.type === 'Identifier') scope.names.set(nameOf(target), value)
    else if (target.type === 'TupleLiteral') {
      const parts = nodes(target.value)
      const items = this.#values.items(value)
      if (items.length !== parts.length) throw new Error(`${items.length} values for ${parts.length} names`)
      for (const [index, part] of parts.entries()) this.#assign(part, items[index], scope)
    } else if (target.type === 'MemberExpression') {
      const owner = this.#value(target.object as Node, scope)
      if (!(owner instanceof Namespace)) throw new Error(`${typeName(owner)} can't be assigned to; a namespace can`)
      const property = target.property as Node
      owner.fields.set(target.computed ? String(this.#key(property, scope)) : nameOf(property), value)
    } else throw new Error(`${target.type} can't be assigned to`)
  }

  #for(node: Node, scope: Scope): string {
    const iterable = node.iterable as Node
    const filtered = iterable.type === 'SelectExpression'
    const all = this.#values.items(this.#value((filtered ? iterable.lhs : iterable) as Node, scope))
    const bind = (item: Value): Scope => {
      const inner = new Scope(scope)
      this.#assign(node.loopvar as Node, item, inner)
      return inner
    }
    const items = filtered ? all.filter((item) => this.#truth(iterable.test, bind(item))) : all
    if (items.length === 0) return this.block(nodes(node.defaultBlock), new Scope(scope))
    let text = ''
    const depth = ++this.#loops
    for (const [index, item] of items.entries()) {
      const inner = bind(item)
      inner.names.set('loop', new Loop(items, index, depth))
      try {
        text = this.#values.joined(
          text,
          this.#counted(() => this.block(nodes(node.body), inner)),
        )
      } catch (control) {
        if (!(control instanceof LoopControl)) throw control
        text += control.text
        if (control.ends) break
      }
    }
    this.#loops--
    return text
  }

  #macro(parameters: readonly Node[], body: readonly Node[], defined: Scope): Callable {
    return new Callable((args, named) => {
      const scope = new Scope(defined)
      const names = parameters.map((parameter) => nameOf(parameter.type === 'Identifier' ? parameter : parameter.key))
      const rest = new Map(named)
      if (named.has('caller')) scope.names.set('caller', named.get('caller'))
      rest.delete('caller')
      for (const [index, name] of names.entries()) {
        const parameter = at(parameters, index)
        const standard = parameter.type === 'Identifier' ? undefined : (parameter.value as Node)
        // The names of arguments may come from a user's dict, whose keys are marked.
        const key = this.#values.keyIn(rest, name)
        const value = index < args.length ? args[index] : rest.has(key) ? rest.get(key) : this.#value(standard, scope)
        rest.delete(key)
        scope.names.set(name, value)
      }
      scope.names.set('varargs', args.slice(parameters.length))
      scope.names.set('kwargs', rest)
      return this.block(body, scope)
    })
  }

  #arguments(list: readonly Node[], scope: Scope): [Value[], Map<string, Value>] {
    const args: Value[] = []
    const named = new Map<string, Value>()
    for (const argument of list) {
      if (argument.type === 'KeywordArgumentExpression')
        named.set(nameOf(argument.key), this.#value(argument.value as Node, scope))
      else if (argument.type === 'SpreadExpression')
        for (const item of this.#values.items(this.#value(argument.argument as Node, scope))) args.push(item)
      else if (argument.type === 'KeywordSpreadExpression') {
        const dict = this.#value(argument.argument as Node, scope)
        if (!(dict instanceof Map)) throw new Error(`${typeName(dict)} after **`)
        this.#values.budget.spendEntries(dict.size)
        for (const [key, item] of dict) named.set(this.#values.text(key), item)
      } else args.push(this.#value(argument, scope))
    }
    return [args, named]
  }

  #call(node: Node, scope: Scope, caller?: Callable): Value {
    const called = this.#value(node.callee as Node, scope)
    if (!(called instanceof Callable)) throw new Error(`${typeName(called)} can't be called`)
    const [args, named] = this.#arguments(nodes(node.args), scope)
    if (caller) named.set('caller', caller)
    return called.call(args, named)
  }

  #filter(filter: Node, value: Value, scope: Scope): Value {
    const call = filter.type === 'CallExpression'
    const [args, named] = call ? this.#arguments(nodes(filter.args), scope) : [[], new Map<string, Value>()]
    return applyFilter(this.#values, nameOf(call ? filter.callee : filter), value, args, named)
  }

  #unary(operator: string, value: Value): Value {
    if (operator === 'not') return !this.#values.truth(value)
    const number = this.#values.number(value)
    if (number === undefined) throw new Error(`${operator} before ${typeName(value)}`)
    const signed = operator === '-' ? -number : number
    return value instanceof Real ? new Real(signed) : signed
  }

  #binary(node: Node, scope: Scope): Value {
    const values = this.#values
    const operator = operatorOf(node)
    const left = this.#value(node.left as Node, scope)
    if (operator === 'and') return values.truth(left) ? this.#value(node.right as Node, scope) : left
    if (operator === 'or') return values.truth(left) ? left : this.#value(node.right as Node, scope)
    const right = this.#value(node.right as Node, scope)
    switch (operator) {
      case '==':
        return values.equal(left, right)
      case '!=':
        return !values.equal(left, right)
      case 'in':
        return isIn(values, left, right)
      case 'not in':
        return !isIn(values, left, right)
      case '<':
        return values.compare(left, right) < 0
      case '<=':
        return values.compare(left, right) <= 0
      case '>':
        return values.compare(left, right) > 0
      case '>=':
        return values.compare(left, right) >= 0
      case '~':
        return values.joined(values.text(left), values.text(right))
      default:
        return this.#arithmetic(operator, left, right)
    }
  }

  #arithmetic(operator: string, left: Value, right: Value): Value {
    const values = this.#values
    if (operator === '+') {
      if (typeof left === 'string' || typeof right === 'string')
        return values.joined(values.text(left), values.text(right))
      if (Array.isArray(left) && Array.isArray(right)) {
        values.budget.spendElements(left.length + right.length)
        return left.concat(right)
      }
    }
    const [a, b] = [values.number(left), values.number(right)]
    if (operator === '*') {
      if (typeof left === 'string' && b !== undefined) return repeated(values, left, b)
      if (typeof right === 'string' && a !== undefined) return repeated(values, right, a)
    }
    if (a === undefined || b === undefined)
      throw new Error(`${typeName(left)} ${operator} ${typeName(right)} makes no sense`)
    const result = numeric[operator]?.(a, b)
    if (result === undefined) throw new Error(`the operator ${operator} is not known`)
    if (!Number.isFinite(result)) throw new Error(`${a} ${operator} ${b} is not a finite number`)
    const real = operator === '/' || left instanceof Real || right instanceof Real || !Number.isInteger(result)
    return real ? new Real(result) : result
  }

  #member(node: Node, scope: Scope): Value {
    const object = this.#value(node.object as Node, scope)
    const property = node.property as Node
    if (!node.computed) {
      const name = property.type === 'IntegerLiteral' ? (property.value as number) : nameOf(property)
      return typeof name === 'number' ? this.#item(object, name) : this.#attribute(object, name)
    }
    if (property.type === 'SliceExpression') return this.#slice(object, property, scope)
    const key = this.#value(property, scope)
    return typeof key === 'string' ? this.#attribute(object, key) : this.#item(object, key)
  }

  #item(object: Value, key: Value): Value {
    const at = this.#values.number(key)
    if (at === undefined) return undefined
    if (Array.isArray(object)) return object.at(at)
    if (typeof object === 'string') return this.#values.items(object).at(at)
    return object instanceof Map ? object.get(at) : undefined
  }

  #attribute(object: Value, name: string): Value {
    const values = this.#values
    if (object instanceof Namespace) return object.fields.get(values.keyIn(object.fields, name))
    if (object instanceof Loop) return loopAttribute(object, name)
    if (object instanceof Map) {
      const key = values.keyIn<Key>(object, name)
      if (object.has(key)) return object.get(key)
      const method = dictMethod(values, object, name)
      return method && new Callable((args) => method(args))
    }
    if (typeof object === 'string') {
      const method = stringMethod(values.plain(name))
      if (method) return new Callable((args, named) => method(values, object, args, named))
    }
    if (name === 'length' && (typeof object === 'string' || Array.isArray(object))) return lengthOf(values, object)
    return undefined
  }

  #slice(object: Value, slice: Node, scope: Scope): Value {
    if (typeof object !== 'string' && !Array.isArray(object)) throw new Error(`${typeName(object)} can't be sliced`)
    const bound = (node: unknown): number | undefined => {
      const value = this.#value(node as Node | undefined, scope)
      if (value === undefined || value === null) return undefined
      const number = this.#values.number(value)
      if (number === undefined || !Number.isInteger(number)) throw new Error(`a slice by ${typeName(value)}`)
      return number
    }
    const [start, stop, step] = [bound(slice.start), bound(slice.stop), bound(slice.step) ?? 1]
    // If every character is one UTF-16 unit, JavaScript's slice is the same as Python's.
    if (typeof object === 'string' && step === 1 && !/[\ud800-\udbff]/.test(object)) {
      this.#values.budget.spend(object.length)
      return object.slice(start, stop)
    }
    const sliced = sliceOf(this.#values.items(object), start, stop, step)
    return typeof object === 'string' ? (sliced as string[]).join('') : sliced
  }
}
