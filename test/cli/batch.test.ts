import { appendFile, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AnswerFile } from '../../cli/batch/answers.ts'
import { progressText } from '../../cli/batch/progress.ts'
import { maxLineBytes, readLines } from '../../cli/batch/read-lines.ts'
import { type BatchRun, checkBelongs, runBatch } from '../../cli/batch/run.ts'
import { loadGuides } from '../../node/guides.ts'
import { Engine, ForetokenError, loadWasm } from '../../node/index.ts'
import { submitMany } from '../../src/engine/many.ts'
import type { Submission } from '../../src/engine/submission.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyEngine } from '../helpers/tiny-server.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foretoken-batch-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const bytes = (text: string) => new TextEncoder().encode(text)

/** Answers a prompt with itself, turned round, in an order of its own. */
const turning: BatchRun['engine'] = {
  generateMany: (requests, options = {}) =>
    submitMany(
      requests,
      ({ prompt, signal }) => {
        if (prompt === 'refused') throw new ForetokenError('context_exceeded', 'too long')
        const text = typeof prompt === 'string' ? [...prompt].reverse().join('') : JSON.stringify(prompt)
        const result = async () => {
          for (let turn = 0; turn < text.length % 5; turn++) await new Promise((resolve) => setImmediate(resolve))
          if (signal?.aborted) throw new ForetokenError('aborted', 'the request was cancelled')
          if (prompt === 'fails') throw new ForetokenError('internal', 'broken')
          return {
            type: 'done',
            finishReason: 'stop',
            text,
            ids: [1, 2, 3],
            cached_tokens: 1,
            timings: { prompt_tokens: 7 },
          }
        }
        return { result, cancel: () => {} } as unknown as Submission
      },
      options,
    ),
}

async function runFile(input: string, output: string, more: Partial<BatchRun> = {}) {
  const answers = await AnswerFile.open(output)
  try {
    await checkBelongs(readLines(input), answers)
    return await runBatch({
      engine: turning,
      model: 'turning',
      input: readLines(input),
      output: answers,
      defaults: {},
      options: { concurrency: 3 },
      ...more,
    })
  } finally {
    await answers.close()
  }
}

const rows = async (path: string) =>
  (await readFile(path, 'utf8'))
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line))

test('several models answer the lines that name them, each line once, also after a resume', async () => {
  const [input, output] = [join(folder, 'models.jsonl'), join(folder, 'models-out.jsonl')]
  const chat = (id: string, model: string) => ({
    custom_id: id,
    method: 'POST',
    url: '/v1/chat/completions',
    body: { model, messages: [{ role: 'user', content: 'a' }] },
  })
  const lines = [
    { prompt: 'a' },
    { prompt: 'b', model: 'two' },
    chat('c', 'two:latest'),
    chat('d', 'one'),
    chat('e', 'tow'),
    { prompt: 'f', model: 'three' },
    { bad: 1 },
  ]
  await writeFile(input, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  const models = ['one', 'two']
  const runs = async () => [
    await runFile(input, output, { model: 'one', models }),
    await runFile(input, output, { model: 'two', models }),
  ]
  expect(await runs()).toMatchObject([
    { answered: 2, errors: 3, resumed: 0 },
    { answered: 2, errors: 0, resumed: 0 },
  ])
  const told = (await rows(output)).sort((a, b) => a.line - b.line)
  expect(told.map(({ line }) => line)).toEqual([1, 2, 3, 4, 5, 6, 7])
  expect(told[2].response.body.model).toBe('two')
  expect(told[3].response.body.model).toBe('one')
  expect(told[4].error.message ?? JSON.stringify(told[4])).toMatch(
    /this batch has no "tow"; the nearest is two, one|the nearest is two/,
  )
  expect(JSON.stringify(told[5])).toMatch(/it has one, two|nearest/)
  expect((await runs()).map(({ answered, resumed }) => [answered, resumed])).toEqual([
    [0, 5],
    [0, 2],
  ])
})

test('one model answers the requests of OpenAI whatever they name, and plain lines that name it', async () => {
  const [input, output] = [join(folder, 'single.jsonl'), join(folder, 'single-out.jsonl')]
  const body = { model: 'gpt-4o', messages: [{ role: 'user', content: 'a' }] }
  const lines = [
    { custom_id: 'a', method: 'POST', url: '/v1/chat/completions', body },
    { prompt: 'b', model: 'turning' },
    { prompt: 'c', model: 'other' },
  ]
  await writeFile(input, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  expect(await runFile(input, output)).toMatchObject({ answered: 2, errors: 1 })
})

describe('readLines', () => {
  const read = async (data: Uint8Array | string) => {
    const path = join(folder, 'lines')
    await writeFile(path, data)
    const lines = []
    for await (const line of readLines(path)) lines.push(line)
    return lines
  }

  test('splits at \\n only, accepts \\r\\n, and a last line without an end', async () => {
    const lines = await read('a\u2028b\r\n\nc\u0085\nlast')
    expect(lines.map(({ bytes }) => new TextDecoder().decode(bytes))).toEqual(['a\u2028b', '', 'c\u0085', 'last'])
    expect(lines.map(({ number }) => number)).toEqual([1, 2, 3, 4])
    expect(lines.map(({ whole }) => whole)).toEqual([true, true, true, false])
    expect(lines.at(-1)!.end).toBe(bytes('a\u2028b\r\n\nc\u0085\nlast').length)
  })

  test("reads lines longer than the stream's pieces, and refuses one longer than the limit", async () => {
    const long = 'x'.repeat(200_000)
    const lines = await read(`${long}\n${'y'.repeat(maxLineBytes + 1)}\nz\n`)
    expect(lines.map(({ bytes }) => bytes?.length)).toEqual([200_000, undefined, 1])
  })

  test('a file that does not exist', async () => {
    const lines = readLines(join(folder, 'nowhere'))
    await expect(lines.next()).rejects.toMatchObject({ code: 'not_found' })
  })
})

describe('a batch', () => {
  const input = [
    '{"prompt":"one"}',
    'garbage',
    '',
    '{"custom_id":"c1","method":"POST","url":"/v1/completions","body":{"prompt":"two"}}',
    '{"prompt":"fails","id":"f"}',
    '{"prompt":"refused"}',
    '{"custom_id":"c1","method":"POST","url":"/v1/completions","body":{"prompt":"again"}}',
    '{"custom_id":"c2","method":"POST","url":"/v1/chat/completions","body":{"messages":[]}}',
    '{"prompt":"three three","id":"t"}',
  ].join('\n')
  let from: string
  beforeAll(async () => {
    from = join(folder, 'in.jsonl')
    await writeFile(from, input)
  })

  test('answers what it can, and reports the rest', async () => {
    const to = join(folder, 'out-1.jsonl')
    const counts = await runFile(from, to)
    expect(counts).toEqual({
      answered: 3,
      errors: 5,
      resumed: 0,
      prompt_tokens: 21,
      completion_tokens: 9,
      cached_tokens: 3,
    })
    const byLine = new Map((await rows(to)).map((row) => [row.line, row]))
    expect([...byLine.keys()].sort((a, b) => a - b)).toEqual([1, 2, 4, 5, 6, 7, 8, 9])
    expect(byLine.get(1)).toMatchObject({ text: 'eno', finish_reason: 'stop', prompt_tokens: 7, completion_tokens: 3 })
    expect(byLine.get(2).error.code).toBe('bad_argument')
    expect(byLine.get(4)).toMatchObject({
      custom_id: 'c1',
      error: null,
      response: {
        status_code: 200,
        body: {
          object: 'text_completion',
          model: 'turning',
          choices: [{ index: 0, text: 'owt', finish_reason: 'stop' }],
          usage: {
            prompt_tokens: 7,
            completion_tokens: 3,
            total_tokens: 10,
            prompt_tokens_details: { cached_tokens: 1 },
          },
        },
      },
    })
    expect(byLine.get(5)).toMatchObject({ id: 'f', error: { code: 'internal', message: 'broken' } })
    expect(byLine.get(6).error.code).toBe('context_exceeded')
    expect(byLine.get(7)).toMatchObject({
      custom_id: 'c1',
      response: null,
      error: { message: expect.stringContaining('line 4') },
    })
    expect(byLine.get(8)).toMatchObject({ custom_id: 'c2', response: null, error: { code: 'bad_argument' } })
    expect(byLine.get(9)).toMatchObject({ id: 't', text: 'eerht eerht' })
  })

  test('killed at any byte of its output, it resumes and ends the same', async () => {
    const whole = join(folder, 'whole.jsonl')
    await runFile(from, whole)
    const full = await readFile(whole)
    // Ids and texts depend on the line alone, so the answers of two runs are equal but for their order and the clock.
    const sorted = async (path: string) =>
      (await rows(path)).map((row) => JSON.stringify(row).replace(/"created":\d+/, '')).sort()
    const expected = await sorted(whole)
    for (let cut = 0; cut <= full.length; cut += cut % 3 === 0 ? 1 : 2) {
      const to = join(folder, 'cut.jsonl')
      await writeFile(to, full.subarray(0, cut))
      const counts = await runFile(from, to)
      expect(await sorted(to)).toEqual(expected)
      const kept = full.subarray(0, cut).filter((byte) => byte === 10).length
      expect(counts.resumed).toBe(kept)
      expect(counts.answered + counts.errors).toBe(8 - kept)
    }
  })

  test('an output of another input is refused and left unchanged', async () => {
    const to = join(folder, 'foreign.jsonl')
    await runFile(from, to)
    const before = await readFile(to)
    for (const other of [input.replace('one', 'uno'), '{"prompt":"one"}', `\n${input}`]) {
      const changed = join(folder, 'other.jsonl')
      await writeFile(changed, other)
      await expect(runFile(changed, to)).rejects.toMatchObject({
        code: 'bad_argument',
        message: expect.stringContaining('answers another input'),
      })
      expect(await readFile(to)).toEqual(before)
    }
    for (const junk of ['hello\n', '{"line":1}\n', '[]\n', 'null\n']) {
      await writeFile(to, junk)
      await expect(runFile(from, to)).rejects.toMatchObject({ code: 'bad_argument' })
      expect(await readFile(to, 'utf8')).toBe(junk)
    }
  })

  test('lines appended to the input are answered by the next run', async () => {
    const [grown, to] = [join(folder, 'grown.jsonl'), join(folder, 'grown-out.jsonl')]
    await writeFile(grown, '{"prompt":"a"}\n')
    await runFile(grown, to)
    await appendFile(grown, '{"prompt":"bc"}\n')
    expect(await runFile(grown, to)).toMatchObject({ resumed: 1, answered: 1 })
    expect((await rows(to)).map(({ text }) => text)).toEqual(['a', 'cb'])
  })

  test('interrupted lines are not written, and run again', async () => {
    const to = join(folder, 'stopped.jsonl')
    const controller = new AbortController()
    const options = { concurrency: 1, signal: controller.signal }
    const onProgress = () => controller.abort()
    await expect(runFile(from, to, { options, onProgress })).rejects.toMatchObject({ code: 'aborted' })
    expect(await rows(to)).toHaveLength(1)
    const counts = await runFile(from, to)
    expect(counts.resumed).toBe(1)
    expect(await rows(to)).toHaveLength(8)
  })

  test('an empty input', async () => {
    const empty = join(folder, 'empty.jsonl')
    await writeFile(empty, '\n \n')
    expect(await runFile(empty, join(folder, 'empty-out.jsonl'))).toMatchObject({ answered: 0, errors: 0 })
  })

  test('outputs that cannot be written', async () => {
    await expect(runFile(from, join(folder, 'no', 'where.jsonl'))).rejects.toMatchObject({ code: 'not_found' })
    await expect(runFile(from, folder)).rejects.toMatchObject({ code: 'io' })
    await expect(runFile(from, '/dev/full')).rejects.toMatchObject({
      code: expect.stringMatching(/disk_full|bad_argument/),
    })
  })

  test('a failed write leaves complete lines', async () => {
    const to = join(folder, 'failing.jsonl')
    const answers = await AnswerFile.open(to)
    await answers.append('{"line":1,"input":"a"}')
    await answers.close()
    await expect(answers.append('{"line":2,"input":"b"}')).rejects.toMatchObject({ code: 'io' })
    expect(await readFile(to, 'utf8')).toBe('{"line":1,"input":"a"}\n')
    await truncate(to, 10)
    await (await AnswerFile.open(to)).close()
    expect(await readFile(to, 'utf8')).toBe('')
  })

  test('with a real engine gives the same as one by one', async () => {
    const engine = await Engine.load(tinyFiles(), { wasm: await loadWasm('auto', 1), kvTokens: 2048 })
    const texts = ['the river', 'rises in the hills', 'x', 'and meets the sea near the harbour']
    const [source, to] = [join(folder, 'real.jsonl'), join(folder, 'real-out.jsonl')]
    await writeFile(source, texts.map((prompt) => JSON.stringify({ prompt, max_tokens: 6, raw: true })).join('\n'))
    await runFile(source, to, { engine })
    const answers = await rows(to)
    for (const [index, prompt] of texts.entries()) {
      const { text, ids } = await engine.submit({ prompt, maxTokens: 6, raw: true }).result()
      const answer = answers.find(({ line }) => line === index + 1)
      expect(answer).toMatchObject({ text, completion_tokens: ids.length })
    }
    await engine.close()
  })
})

describe('progress', () => {
  const counts = { answered: 40, errors: 1, resumed: 9, prompt_tokens: 800, completion_tokens: 200, cached_tokens: 0 }
  test('reports share, rate and remaining time', () => {
    expect(progressText(counts, 100, 10)).toBe(
      ' 50 %  ██████████            50 of 100  1 errors  100 tokens/s  13 s left',
    )
    expect(progressText(counts, undefined, 10)).toBe('50 lines  1 errors  100 tokens/s')
    expect(progressText({ ...counts, answered: 0, errors: 0, resumed: 0 }, 100, 0)).toContain('0 of 100')
  })
})

describe('a chat with tools', () => {
  const tool = (name: string) => ({
    type: 'function',
    function: {
      name,
      parameters: { type: 'object', properties: { n: { enum: [1, 2] } }, required: ['n'], additionalProperties: false },
    },
  })
  // The model's tokens are bytes: white space is unlikely.
  const logit_bias = Object.fromEntries([...Buffer.from(' \t\r\n')].map((id) => [id, -100]))
  const line = (id: string, body: object) =>
    JSON.stringify({
      custom_id: id,
      method: 'POST',
      url: '/v1/chat/completions',
      body: { max_tokens: 600, seed: 1, temperature: 1, logit_bias, ...body },
    })

  test('is answered by calls that its choice asks for, beside lines without; what can not be called is reported', async () => {
    const engine = await tinyEngine({ guides: loadGuides })
    const [input, output] = [join(folder, 'tools.jsonl'), join(folder, 'tools.out')]
    const messages = [{ role: 'user', content: 'hi' }]
    const history = [
      ...messages,
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: 'c1', type: 'function', function: { name: 'one', arguments: '{"n": 1}' } }],
      },
      { role: 'tool', tool_call_id: 'c1', content: '3' },
    ]
    const tools = [tool('one'), tool('two')]
    const lines = [
      line('required', { messages, tools, tool_choice: 'required', parallel_tool_calls: false }),
      line('named', {
        messages: history,
        tools,
        tool_choice: { type: 'function', function: { name: 'two' } },
        foretoken: { tool_format: 'hermes' },
      }),
      line('none', { messages, tools, tool_choice: 'none', max_tokens: 3 }),
      line('shape', { messages, guided_choice: ['yes'] }),
      line('absent', { messages, tools, tool_choice: { type: 'function', function: { name: 'three' } } }),
      line('without', { messages, tool_choice: 'required' }),
      line('twice', { messages, tools: [tool('one'), tool('one')] }),
    ]
    await writeFile(input, `${lines.join('\n')}\n`)
    await runFile(input, output, { engine, options: { concurrency: 4 } })
    await engine.close()
    const answers = new Map((await rows(output)).map((row) => [row.custom_id, row]))
    const choice = (id: string) => answers.get(id)?.response?.body.choices[0]
    for (const [id, names] of [
      ['required', ['one', 'two']],
      ['named', ['two']],
    ] as const) {
      const { message, finish_reason } = choice(id)
      expect([id, finish_reason]).toEqual([id, 'tool_calls'])
      const [call] = message.tool_calls
      expect(names).toContain(call.function.name)
      expect([{ n: 1 }, { n: 2 }]).toContainEqual(JSON.parse(call.function.arguments))
    }
    expect(choice('required').message.tool_calls).toHaveLength(1)
    expect(choice('none').message.tool_calls).toBeUndefined()
    expect(choice('shape').message.content).toBe('yes')
    expect(answers.get('absent')?.error.message).toMatch(/tool_choice names three/)
    expect(answers.get('without')?.error.message).toMatch(/there are no tools/)
    expect(answers.get('twice')?.error.message).toMatch(/two tools named one/)
  })
})
