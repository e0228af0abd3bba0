/** The items of a response, in the order in which they came: thoughts, messages and calls. */
import type { AnswerPart } from '../../src/index.ts'
import { newId } from '../ids.ts'
import { type AnsweredCall, objectOf } from './parts.ts'
import type { TokenLogprob } from './tokens.ts'

export type ItemStatus = 'completed' | 'incomplete'

interface Common {
  readonly id: string
  text: string
}

/** An item; `text` is its text so far, or the arguments of a call. */
export type ResponseItem =
  | (Common & { readonly type: 'reasoning' })
  | (Common & { readonly type: 'message'; readonly logprobs: TokenLogprob[] })
  | (Common & { readonly type: 'function_call'; readonly callId: string; readonly name: string })

/** What a part of an answer does to an item. */
export interface ItemChange {
  readonly type: 'open' | 'delta' | 'close'
  /** Index of the item. */
  readonly index: number
  readonly item: ResponseItem
  /** The text that a delta adds; empty for other changes. */
  readonly text: string
}

/** Puts the parts of one answer into items. */
export class ResponseItems {
  readonly all: ResponseItem[] = []
  #open = false

  /** Adds a part; `calls` are the calls of the answer so far. Returns the changes in order. */
  add(part: AnswerPart, calls: readonly AnsweredCall[]): ItemChange[] {
    switch (part.type) {
      case 'reasoning':
        return this.#write('reasoning', part.text, () => ({ type: 'reasoning', id: newId('rs', '_'), text: '' }))
      case 'content':
        return this.#write('message', part.text, newMessage)
      case 'call': {
        const callId = calls[part.index]?.id ?? ''
        const item: ResponseItem = { type: 'function_call', id: newId('fc', '_'), text: '', callId, name: part.name }
        return [...this.close(), this.#begin(item)]
      }
      case 'arguments':
        return [this.#delta(part.text)]
      case 'end':
        return this.close()
    }
  }

  get isOpen(): boolean {
    return this.#open
  }

  /** Closes the open item. */
  close(): ItemChange[] {
    if (!this.#open) return []
    this.#open = false
    return [{ type: 'close', ...this.#last, text: '' }]
  }

  /** Opens a message, unless one is open. */
  openMessage(): ItemChange[] {
    if (this.#open && this.#last.item.type === 'message') return []
    return [...this.close(), this.#begin(newMessage())]
  }

  get #last() {
    const index = this.all.length - 1
    return { index, item: this.all[index] as ResponseItem }
  }

  #begin(item: ResponseItem): ItemChange {
    this.all.push(item)
    this.#open = true
    return { type: 'open', ...this.#last, text: '' }
  }

  #delta(text: string): ItemChange {
    const { index, item } = this.#last
    item.text += text
    return { type: 'delta', index, item, text }
  }

  #write(type: ResponseItem['type'], text: string, create: () => ResponseItem): ItemChange[] {
    const continued = this.#open && this.#last.item.type === type
    return [...(continued ? [] : [...this.close(), this.#begin(create())]), this.#delta(text)]
  }
}

function newMessage(): ResponseItem {
  return { type: 'message', id: newId('msg', '_'), text: '', logprobs: [] }
}

/** Returns the status of an item that is over: a call must not be run unless its arguments are whole. */
export function statusOf(item: ResponseItem, status: ItemStatus): ItemStatus {
  return isCutCall(item) ? 'incomplete' : status
}

/** Whether an item is a call whose arguments are no JSON object: the answer ended in their middle. */
export function isCutCall(item: ResponseItem | undefined): boolean {
  return item?.type === 'function_call' && objectOf(item.text) === undefined
}

/** Returns an item as the API has it. */
export function itemBody(item: ResponseItem, status: string) {
  const { id, type, text } = item
  if (type === 'reasoning') return { id, type, status, summary: [], content: text === '' ? [] : [reasoningPart(text)] }
  if (type === 'function_call') return { id, type, status, call_id: item.callId, name: item.name, arguments: text }
  const content = status === 'in_progress' ? [] : [textPart(text, item.logprobs)]
  return { id, type, status, role: 'assistant', content }
}

/** Returns the text of a message as a part of its content. */
export function textPart(text: string, logprobs: readonly TokenLogprob[]) {
  return { type: 'output_text', text, annotations: [], logprobs }
}

/** Returns thoughts as a part of their item's content. */
export function reasoningPart(text: string) {
  return { type: 'reasoning_text', text }
}
