/** The loop of calls and results: what is asked in each step, and when it ends. */
import { expect, test } from 'vitest'
import { answerWithTools, type Choice, mostSteps, type Step } from '../../playground/loop.ts'
import type { Message } from '../../src/index.ts'

const question: Message = { role: 'user', content: 'What is 2 + 3?' }
const sum = (expression: string) => ({ name: 'calculator', arguments: JSON.stringify({ expression }) })

async function looped(steps: readonly Step[], choice: Choice = 'auto', before: readonly Message[] = [question]) {
  const asked: { messages: readonly Message[]; choice: Choice }[] = []
  const results: [number, string][] = []
  const said = await answerWithTools(
    before,
    choice,
    async (messages, now) => {
      asked.push({ messages, choice: now })
      return steps[Math.min(asked.length, steps.length) - 1]!
    },
    (at, result) => results.push([at, result]),
  )
  return { asked, results, said }
}

test('an answer without calls is the only step', async () => {
  const { asked, said, results } = await looped([{ text: 'Five.', calls: [] }], 'required')
  expect(asked).toEqual([{ messages: [question], choice: 'required' }])
  expect(said).toEqual([{ role: 'assistant', content: 'Five.' }])
  expect(results).toEqual([])
})

test('calls are run in order, and the model goes on with their results', async () => {
  const steps = [
    { text: 'So.', calls: [sum('2 + 3'), sum('1 / 0')] },
    { text: 'Five.', calls: [] },
  ]
  const { asked, said, results } = await looped(steps, 'required')
  expect(results).toEqual([
    [0, '5'],
    [1, 'error: division by zero'],
  ])
  const called = (id: string, expression: string) => ({
    id,
    type: 'function',
    function: { name: 'calculator', arguments: { expression } },
  })
  expect(said).toEqual([
    { role: 'assistant', content: 'So.', tool_calls: [called('call00000', '2 + 3'), called('call00001', '1 / 0')] },
    { role: 'tool', tool_call_id: 'call00000', content: '5' },
    { role: 'tool', tool_call_id: 'call00001', content: 'error: division by zero' },
    { role: 'assistant', content: 'Five.' },
  ])
  expect(asked[1]).toEqual({ messages: [question, ...said.slice(0, 3)], choice: 'auto' })
  const again = await looped([{ text: '', calls: [sum('1')] }, steps[1]!], 'auto', [question, ...said, question])
  expect(again.said[0]!.tool_calls![0]!.id).toBe('call00002')
})

test('a model that calls without end has to answer in its last step', async () => {
  const { asked, said } = await looped([{ text: 'Again.', calls: [sum('1')] }])
  expect(asked.map(({ choice }) => choice)).toEqual(['auto', 'auto', 'auto', 'auto', 'none'])
  expect(asked).toHaveLength(mostSteps)
  expect(said.at(-1)).toEqual({ role: 'assistant', content: 'Again.' })
})

test('arguments that are no object are told to be wrong', async () => {
  const { said } = await looped([
    { text: '', calls: [{ name: 'calculator', arguments: '{"expression": ' }] },
    { text: 'Sorry.', calls: [] },
  ])
  expect(said[0]!.tool_calls![0]!.function.arguments).toEqual({})
  expect(said[1]!.content).toBe('error: the arguments are not JSON')
})

test('a failure of a step is that of the answer', async () => {
  const failing = answerWithTools(
    [question],
    'auto',
    () => Promise.reject(new Error('no network')),
    () => {},
  )
  await expect(failing).rejects.toThrow('no network')
})
