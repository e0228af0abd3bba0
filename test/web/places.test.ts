/** Where a conversation lives, and for whom a key is. */

import { expect, test } from 'vitest'
import {
  type Conversations,
  changed,
  correctedStep,
  empty,
  firstStep,
  messagesOf,
  type Turn,
  textOf,
  withLastStep,
  withLastTurn,
} from '../../web/conversations.ts'
import { addressOf, type EndpointSettings, hostOf, keyOf, placeOf, withKey } from '../../web/endpoint-settings.ts'
import fc from '../helpers/properties.ts'

const turn = (question: string, late: string): Turn => ({
  question,
  steps: [{ ...firstStep, late }],
  shaped: false,
  mode: 'exact',
  times: { begun: 0 },
  notes: [],
  running: false,
})

test('every spelling of an address is one place; other addresses are other places', () => {
  const same = [
    'https://a.example/v1',
    ' https://A.example:443/v1/ ',
    'https://a.example/v1//',
    'https://a.example/v1#x',
    'https://me@a.example/v1',
  ]
  expect(new Set(same.map(placeOf)).size).toBe(1)
  const others = [
    'http://a.example/v1',
    'https://b.example/v1',
    'https://a.example:8443/v1',
    'https://a.example/v2',
    'https://a.example/v1?x=1',
    'https://a.example/V1',
  ]
  expect(new Set([same[0]!, ...others].map(placeOf)).size).toBe(1 + others.length)
})

test('a path is appended to the address, before its query', () => {
  expect(addressOf('https://a.example/v1/', '/models')).toBe('https://a.example/v1/models')
  expect(addressOf('https://a.example/x?api-version=3', '/models')).toBe('https://a.example/x/models?api-version=3')
  for (const none of ['', 'v1', 'file:///v1', 'javascript:alert(1)', 'https://']) {
    expect(() => addressOf(none, '/models'), none).toThrow(/is not an address/)
    expect(hostOf(none), none).toBe(none.trim())
  }
})

test('a key is sent to the origin for which it was typed, and restored with its address', () => {
  const at = (address: string, old: EndpointSettings) => ({ ...old, address })
  const typed = withKey({ address: 'https://a.example/v1', keys: {}, model: '' }, 'secret')
  expect(keyOf(typed)).toBe('secret')
  expect(keyOf(at('https://a.example/v2', typed))).toBe('secret')
  for (const other of [
    'http://a.example/v1',
    'https://a.example:8443/v1',
    'https://b.example/v1',
    'https://__proto__/v1',
    '__proto__',
    '',
  ])
    expect(keyOf(at(other, typed)), other).toBe('')
  expect(keyOf(at('https://a.example', withKey(at('https://b.example', typed), 'other')))).toBe('secret')
  expect(withKey(typed, '').keys).toEqual({})
  expect(withKey(at('no address', typed), 'x').keys).toEqual(typed.keys)
})

test('no place receives turns, drafts, schemas or tools of another, in any sequence', () => {
  const place = fc.constantFrom('tab', 'https://a.example/v1', 'https://b.example/v1')
  const step = fc.tuple(place, fc.constantFrom('say', 'draft', 'schema', 'tools', 'clear'), fc.nat(1e6))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      let all: Conversations = new Map()
      for (const [at, what, number] of steps)
        all = changed(all, at, (old) => {
          if (what === 'clear') return { ...old, turns: [] }
          if (what === 'draft') return { ...old, draft: `${at} draft ${number}` }
          if (what === 'schema') return { ...old, schema: `${at} schema ${number}` }
          if (what === 'tools') return { ...old, tools: at === 'tab' ? 'auto' : 'required' }
          return { ...old, turns: [...old.turns, turn(`${at} asks ${number}`, `${at} says ${number}`)] }
        })
      for (const [at, one] of all) {
        for (const { content } of messagesOf(one)) expect(content.startsWith(at)).toBe(true)
        if (one.draft) expect(one.draft.startsWith(at)).toBe(true)
        if (one.schema) expect(one.schema.startsWith(at)).toBe(true)
        expect(['off', at === 'tab' ? 'auto' : 'required']).toContain(one.tools)
      }
    }),
  )
})

test('empty places are dropped, so that typing an address leaves none behind', () => {
  let all: Conversations = new Map()
  for (let length = 1; length < 20; length++) all = changed(all, 'https://a.example/v1'.slice(0, length), (old) => old)
  expect(all.size).toBe(0)
  all = changed(all, 'tab', (old) => ({ ...old, draft: 'x' }))
  all = changed(all, 'tab', (old) => ({ ...old, draft: '' }))
  expect(all.size).toBe(0)
  all = changed(all, 'tab', (old) => ({ ...old, control: new AbortController() }))
  expect(all.size).toBe(1)
})

test('a question without an answer is omitted from the messages to the model', () => {
  const one = { ...empty, turns: [turn('a', 'b'), turn('c', '')] }
  expect(messagesOf(one).map(({ content }) => content)).toEqual(['a', 'b'])
  const withAnswer = withLastTurn(one, (last) => withLastStep(last, (step) => ({ ...step, late: 'd' })))
  expect(withAnswer.turns.map(textOf)).toEqual(['b', 'd'])
})

test('the calls of a complete turn are among the messages, those of a stopped one are not', () => {
  const call = { id: 'call00000', type: 'function', function: { name: 'clock', arguments: {} } } as const
  const said = (content: string) => [
    { role: 'assistant' as const, content: '', tool_calls: [call] },
    { role: 'tool' as const, tool_call_id: 'call00000', content: 'Monday' },
    { role: 'assistant' as const, content },
  ]
  const messages = (more: Partial<Turn>) => messagesOf({ ...empty, turns: [{ ...turn('a', 'b'), ...more }] })
  expect(messages({ said: said('b') })).toEqual([{ role: 'user', content: 'a' }, ...said('b')])
  expect(messages({ said: said('') })).toEqual([])
  expect(messages({}).map(({ content }) => content)).toEqual(['a', 'b'])
})

test('a corrected answer is what is sent on, and shows where it was corrected', () => {
  const call = { name: 'clock', arguments: '{' }
  for (const [text, early, late] of [
    ['the lake', 'the ', 'lake'],
    ['the road', 'the r', 'oad'],
    ['a lake', '', 'a lake'],
    ['the river', 'the river', ''],
    ['', '', ''],
  ] as const) {
    const now = correctedStep({ early: 'the', late: ' river', calls: [call] }, text)
    expect(now).toEqual({ early, late, calls: [], corrected: true })
    const messages = messagesOf({ ...empty, turns: [{ ...turn('q', ''), steps: [now] }] })
    expect(messages.map(({ content }) => content)).toEqual(text === '' ? [] : ['q', text])
  }
})
