/**
 * Simulates what each way to a first token takes in a regime of network and speeds, by a model of
 * both ends on a simulated clock.
 *
 *     local      fixed + tokens x ms/token (short prompts cost more a token)
 *     relay      RTT + queue + the same at the companion + a first byte
 *     remote KV  RTT + queue + tiles of K and V, each sent when its pass has run and the one before
 *                is through; TCP's slow start from 10 segments; then the last tokens here
 *     race       the earlier of predicted local and remote KV, each a little slower for the other
 *
 * Times are drawn: each part has noise, packets are lost, and now and then another prompt is ahead
 * of ours at the companion. All ways of one request share their draws, so that policies are
 * compared on the same luck.
 */
import type { Way } from '../../src/index.ts'

export interface Regime {
  readonly rtt_ms: number
  readonly mbit_s: number
  /** Share of packets that are lost. */
  readonly loss: number
  readonly local_ms_per_token: number
  readonly companion_ms_per_token: number
}

export interface Ask {
  readonly tokens: number
  /** True if the first token may come from predicted K and V. */
  readonly predicted: boolean
}

export interface Drawn {
  /** TTFT, milliseconds. */
  readonly ttft: Readonly<Record<Way, number>>
  /** Bytes and milliseconds of the stream of K and V. */
  readonly bytes: number
  readonly transferMs: number
  /** Milliseconds of reading the prompt here. */
  readonly localMs: number
  /** Values that the companion reports about itself. */
  readonly companionMsPerToken: number
  readonly roundTripMs: number
}

/** K and V of SmolLM2-135M in int8 (record of `bench wire`). */
export const bytesPerToken = 12_242
const packet = 1400
const firstWindow = 10 * packet
const tile = 64
const pass = 256
const tail = 16
/** Fixed cost of a call: template, tokens, sampling, the write. */
const fixedMs = 3
/** A pass of fewer rows costs as much as one of this many. */
const leastRows = 12
/**
 * TTFT of predicted prefill relative to exact, from long prompts; the last 48 tokens run whole
 * (record of `bench modes`).
 */
const predictedShare = 0.42
const wholeTokens = 48
/** Slowdown of receiving K and V while predicting, and of predicting while receiving. */
const racing = 1.04
/** One time in ten, a prompt of this many tokens is ahead of ours at the companion. */
const others = 200
const timeoutMs = 200

/** Draws a request's times. `random` gives uniform numbers in [0, 1). */
export function draw(regime: Regime, { tokens, predicted }: Ask, random: () => number): Drawn {
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  const noise = (spread: number) => Math.exp(spread * normal() - spread ** 2 / 2)
  const rows = Math.max(leastRows, tokens)
  const here = regime.local_ms_per_token * noise(0.06)
  const there = regime.companion_ms_per_token * noise(0.06)
  const rtt = regime.rtt_ms * noise(0.05) + 0.5
  const queue = random() < 0.1 ? there * others * random() : 0
  // A lost request or first byte waits for a timeout; within a stream, later packets reveal a loss
  // at once.
  const lost = random() < 2 * regime.loss ? timeoutMs + rtt : 0

  const exact = fixedMs + rows * here
  const whole = Math.min(tokens, wholeTokens)
  const quick = fixedMs + Math.max(leastRows, whole + (tokens - whole) * predictedShare) * here
  const local = predicted ? quick : exact
  const relay = fixedMs + rtt + lost + queue + rows * there
  const stream = sent(regime, tokens, there, rtt, random)
  const remote = fixedMs + rtt + lost + queue + stream.end + Math.max(tail, leastRows) * here
  return {
    ttft: { local, remote, relay, race: Math.min(local, remote) * racing },
    bytes: tokens * bytesPerToken,
    transferMs: stream.end - stream.begin,
    localMs: local - fixedMs,
    companionMsPerToken: there,
    roundTripMs: rtt,
  }
}

/**
 * Returns when the first and the last tile of K and V have arrived, in milliseconds after the
 * companion began.
 */
function sent({ mbit_s, loss }: Regime, tokens: number, there: number, rtt: number, random: () => number) {
  const wire = (mbit_s * 1e6) / 8 / 1000
  // Throughput of one connection with lost packets (Mathis et al. 1997).
  const rate = loss > 0 ? Math.min(wire, (packet / rtt) * (1.22 / Math.sqrt(loss))) : wire
  let window = firstWindow
  let free = 0
  let begin = 0
  for (let at = 0; at < tokens; at += tile) {
    const count = Math.min(tile, tokens - at)
    const computed = Math.max(leastRows, Math.min(tokens, Math.ceil((at + count) / pass) * pass)) * there
    free = Math.max(free, computed)
    for (let left = count * bytesPerToken; left > 0; ) {
      // While the window is small it is sent at once, followed by a round trip of waiting.
      const slow = window < rate * rtt
      const now = Math.min(left, slow ? window : left)
      free += slow ? rtt : now / rate
      if (slow) window *= 2
      left -= now
    }
    if (at === 0) begin = free
  }
  // No packet follows the last one to reveal its loss.
  if (random() < loss) free += timeoutMs + rtt
  return { begin, end: free }
}
