/**
 * What `npm run soak:shared` runs: the most ordinary load there is. `foretoken serve` as it is, 32 and then 64 clients at once, each
 * with a question of its own behind one system prompt of 900 words, 150 tokens an answer, round after round. Nothing is grown first.
 *
 * Prints a line for each round and a report as JSON; exit code 1 for a failed answer, for a resident set that grows by more than 3 %
 * from the third round to the last, or for one above 700 MB.
 */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { postChat, startCli } from '../helpers/cli-process.ts'

const rounds = Number(process.argv[2] ?? 20)
const model = process.argv[3]
const crowds = [32, 64]
const most = { growth: 0.03, megabytes: 700 }

const subjects = ['rivers', 'bridges', 'harbours', 'mills', 'roads', 'markets', 'bells', 'gardens', 'lamps']
const system = Array.from({ length: 900 }, (_, word) => subjects[(word * 7 + Math.floor(word / 9)) % 9]).join(' ')

const reports = []
for (const clients of crowds) reports.push(await crowd(clients))
const sound = reports.every(
  ({ failed, growth, peak_mb }) => failed === 0 && growth <= most.growth && peak_mb <= most.megabytes,
)
console.log(JSON.stringify({ rounds, reports, sound }))
process.exit(sound ? 0 : 1)

/** Serves anew, so that no crowd finds the memory of another. */
async function crowd(clients: number) {
  const { child, ended, url } = startCli(['serve', '--port', '0', ...(model ? ['-m', model] : [])])
  const at = await url()
  const served = (await (await fetch(`${at}/v1/models`)).json()).data[0].id as string
  const [rss_mb, wasm_mb]: [number[], number[]] = [[], []]
  const failures: Record<string, number> = {}
  let failed = 0
  for (let round = 0; round < rounds; round++) {
    const answers = await Promise.all(
      Array.from({ length: clients }, (_, client) => answer(at, served, client + round * clients)),
    )
    for (const failure of answers.filter((one) => one !== undefined)) {
      failed++
      failures[failure] = (failures[failure] ?? 0) + 1
    }
    rss_mb.push(megabytes(child.pid!))
    wasm_mb.push(Math.round((await metric(at, 'foretoken_wasm_bytes')) / 1e6))
    console.error(
      `${clients} clients, round ${round + 1}: ${failed} failed, RSS ${rss_mb.at(-1)} MB, wasm ${wasm_mb.at(-1)} MB`,
    )
  }
  child.kill('SIGTERM')
  await Promise.race([ended, once(child, 'exit')])
  const third = rss_mb[Math.min(2, rounds - 1)]!
  return {
    clients,
    failed,
    failures,
    growth: Math.round((rss_mb.at(-1)! / third - 1) * 1e4) / 1e4,
    peak_mb: Math.max(...rss_mb),
    rss_mb,
    wasm_mb,
  }
}

/** Streams one answer to its end; says what went wrong, if anything did. */
async function answer(url: string, served: string, question: number): Promise<string | undefined> {
  try {
    const response = await postChat(url, {
      model: served,
      stream: true,
      max_tokens: 150,
      seed: question,
      messages: [
        { role: 'system', content: system },
        { role: 'user', content: `Question ${question}: which of them is nearest to the sea, and why?` },
      ],
    })
    const text = await response.text()
    if (!response.ok) return `${response.status} ${text.slice(0, 200)}`
    if (text.includes('"error"')) return text.slice(text.indexOf('"error"')).slice(0, 200)
    return text.endsWith('data: [DONE]\n\n') ? undefined : 'the stream broke off'
  } catch (error) {
    return String(error)
  }
}

async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1])
}

/** The resident set of a process in MB; Linux only, 0 elsewhere. */
function megabytes(pid: number): number {
  try {
    return Math.round((Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024) / 1e6)
  } catch {
    return 0
  }
}
