/** Answers on a terminal, where a correction is shown, and in a pipe, where it must not be. */
import { expect, test } from 'vitest'
import { AnswerWriter } from '../../cli/answer-writer.ts'

/** A terminal or a pipe, with everything that was written: notes in brackets. */
function written(live: boolean) {
  let all = ''
  const terminal = {
    live,
    write: (text: string) => {
      all += text
    },
    note: (text: string) => {
      all += `[${text}]\n`
    },
  }
  return { writer: new AnswerWriter(terminal), all: () => all }
}

test('a terminal shows text as it comes, and the line again from the token that was replaced', () => {
  const { writer, all } = written(true)
  writer.push('first line\nthe riv')
  expect(all()).toBe('first line\nthe riv')
  writer.correct({ index: 3, offset: 'first line\nthe '.length })
  writer.push('lake')
  writer.finish()
  expect(all()).toBe('first line\nthe riv\n[corrected from token 4:]\nthe lake\n')
  expect(writer.text).toBe('first line\nthe lake')
})

test('a correction at the beginning, at the end of a line, and before anything was shown', () => {
  for (const [before, offset, want] of [
    ['wrong', 0, 'wrong\n[corrected from token 1:]\nright\n'],
    ['one\n', 4, 'one\n[corrected from token 1:]\nright\n'],
    ['', 0, '[corrected from token 1:]\nright\n'],
  ] as const) {
    const { writer, all } = written(true)
    writer.push(before)
    writer.correct({ index: 0, offset })
    writer.push('right')
    writer.finish()
    expect(all()).toBe(want)
  }
})

test('a pipe gets the corrected answer, once', () => {
  const { writer, all } = written(false)
  writer.push('the river')
  writer.correct({ index: 2, offset: 4 })
  writer.push('lake')
  expect(all()).toBe('')
  writer.finish()
  expect(all()).toBe('the lake\n')
})

test('an answer that was stopped keeps what came, and its line ends once', () => {
  for (const live of [true, false]) {
    const { writer, all } = written(live)
    writer.push('half of it')
    writer.stop()
    writer.stop()
    expect(all()).toBe('half of it\n')
  }
})

test('an answer without text is an empty line', () => {
  for (const live of [true, false]) {
    const { writer, all } = written(live)
    writer.finish()
    expect(all()).toBe('\n')
  }
})
