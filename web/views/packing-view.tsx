/**
 * Compares padded and packed prefill of a list of prompts: the rows that each computes, and its
 * time.
 */
import { useEffect, useRef, useState } from 'preact/hooks'
import type { Ready, TabEngine } from '../engine.ts'
import type { PackFigures } from '../protocol.ts'
import { milliseconds } from './units.ts'

const example = [
  'Name the capital of France.',
  'Write a short note to a neighbour who has looked after the cat for a week, and thank them for the letters they took in.',
  'What is 17 times 3?',
  'Explain in a few sentences why the sky is blue at noon and red in the evening, for somebody who knows no physics at all.',
  'List three fruits.',
  'Summarise: the harbour was built in 1870, widened twice, and closed to ships when the new port opened further north; today it is a museum with a café.',
  'Hello!',
  'Translate “good morning” into Italian.',
].join('\n')

export function PackingView({ engine, ready }: { readonly engine: TabEngine; readonly ready: Ready | undefined }) {
  const [text, setText] = useState(example)
  const [over, setOver] = useState(false)
  const [share, setShare] = useState<number | undefined>(undefined)
  const [figures, setFigures] = useState<PackFigures | undefined>(undefined)
  const [failed, setFailed] = useState<string | undefined>(undefined)
  const [control, setControl] = useState<AbortController | undefined>(undefined)

  const readFiles = async (files: Iterable<File>) => {
    const texts = await Promise.all([...files].map((file) => file.text()))
    setText(texts.map((one) => one.trim()).join('\n'))
    setFigures(undefined)
  }
  const start = async () => {
    const run = new AbortController()
    setControl(run)
    setFailed(undefined)
    setShare(0)
    try {
      setFigures(await engine.pack(linesOf(text), setShare, run.signal))
    } catch (error) {
      if (!run.signal.aborted) setFailed((error as Error).message)
    } finally {
      setShare(undefined)
      setControl(undefined)
    }
  }
  return (
    <section class="packing" aria-label="Prepacking">
      <p class="notes">
        Prompts of different lengths in one batch are usually padded to the longest, and the padding is computed, too.
        Packed, they lie end to end on one axis, each seeing only itself. Drop a file with one prompt per line, or write
        them here.
      </p>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: dropping is an alternative; the field and the button do the same. */}
      <div
        class={over ? 'drop over' : 'drop'}
        onDragOver={(event) => {
          event.preventDefault()
          setOver(true)
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault()
          setOver(false)
          const { files } = event.dataTransfer ?? { files: [] }
          if (files.length > 0) void readFiles(files)
          else setText(event.dataTransfer?.getData('text/plain') ?? text)
        }}
      >
        <label for="prompts">Prompts, one per line</label>
        <textarea id="prompts" rows={8} value={text} onInput={(event) => setText(event.currentTarget.value)} />
      </div>
      <div class="row">
        <button type="button" class="primary" disabled={!ready || control !== undefined} onClick={() => void start()}>
          Run padded and packed
        </button>
        {control && (
          <button type="button" onClick={() => control.abort()}>
            Stop
          </button>
        )}
        <label class="file">
          <span>or a file</span>
          <input
            type="file"
            accept=".txt,.jsonl,text/plain"
            onChange={(event) => void readFiles(event.currentTarget.files ?? [])}
          />
        </label>
        {!ready && <span class="notes">Load the model first.</span>}
      </div>
      {share !== undefined && <progress aria-label="Reading" max="1" value={share} />}
      {failed && (
        <p class="failed" role="alert">
          {failed}
        </p>
      )}
      {figures && <Outcome figures={figures} />}
    </section>
  )
}

function Outcome({ figures: { lengths, alone, padded, packed } }: { readonly figures: PackFigures }) {
  const longest = Math.max(...lengths)
  const tokens = lengths.reduce((sum, length) => sum + length, 0)
  const rows = longest * lengths.length
  return (
    <div class="outcome" role="status">
      <figure>
        <figcaption>
          Padded: {rows} rows, {rows - tokens} of them padding. <strong>{milliseconds(padded)}</strong>
        </figcaption>
        <Grid lengths={lengths} columns={longest} />
      </figure>
      <figure>
        <figcaption>
          Packed: {tokens} rows. <strong>{milliseconds(packed)}</strong>, {(padded / packed).toFixed(1)} times as fast
          (expected from the rows: {(rows / tokens).toFixed(1)})
        </figcaption>
        <Grid lengths={lengths} columns={0} />
      </figure>
      <p class="notes">One by one: {milliseconds(alone)}.</p>
    </div>
  )
}

/**
 * Draws one cell per token in its prompt's colour: in rows of `columns`, with pale cells for
 * padding, or, if `columns` is 0, end to end.
 */
function Grid({ lengths, columns }: { readonly lengths: readonly number[]; readonly columns: number }) {
  const canvas = useRef<HTMLCanvasElement>(null)
  useEffect(() => {
    const draw = canvas.current!
    const wide =
      columns ||
      Math.ceil(Math.max(Math.max(...lengths), Math.sqrt(lengths.reduce((sum, length) => sum + length, 0) * 4)))
    const cells = columns
      ? lengths.flatMap((length, row) => Array.from({ length: columns }, (_, at) => (at < length ? row : -1)))
      : lengths.flatMap((length, row) => Array<number>(length).fill(row))
    const size = Math.max(3, Math.min(10, Math.floor(640 / wide)))
    draw.width = wide * size
    draw.height = Math.ceil(cells.length / wide) * size
    const pen = draw.getContext('2d')!
    cells.forEach((prompt, at) => {
      pen.fillStyle = prompt < 0 ? 'rgba(128,128,128,.18)' : `hsl(${(prompt * 137 + 160) % 360} 42% 52%)`
      pen.fillRect((at % wide) * size, Math.floor(at / wide) * size, size - 1, size - 1)
    })
  }, [lengths, columns])
  return (
    <canvas
      ref={canvas}
      class="grid"
      role="img"
      aria-label={columns ? 'prompts in rows, padded to the longest' : 'prompts end to end'}
    />
  )
}

/** Returns the non-empty lines, or the prompts of JSON lines. */
function linesOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) => {
      if (!line.startsWith('{')) return line
      try {
        const { prompt } = JSON.parse(line)
        return typeof prompt === 'string' ? prompt : line
      } catch {
        return line
      }
    })
}
