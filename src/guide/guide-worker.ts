/** Compiles the grammars of one engine in a worker, one at a time; tenants take turns. */
import { ForetokenError } from '../base/errors.ts'
import { Gate } from '../base/gate.ts'
import type { TokenizerSpec } from '../base/model.ts'
import { SerialWorker, type SerialWorkerOptions } from '../base/serial-worker.ts'
import { Shares } from '../base/shares.ts'
import { type Grammar, isCheap } from './grammar.ts'
import type { SavedInstance } from './instance.ts'
import type { FromGuideWorker, SpawnGuides, ToGuideWorker } from './worker-messages.ts'

/** How a worker for guides is started. */
export interface GuideWorkers
  extends Pick<SerialWorkerOptions<ToGuideWorker, FromGuideWorker>, 'startMs' | 'deadlineMs' | 'graceMs' | 'idleMs'> {
  readonly spawn: SpawnGuides
  /** `guide.wasm`, compiled. */
  readonly module: WebAssembly.Module
  /** Address of `guide.js`, which the worker imports. */
  readonly glue: string
}

/** The failure of a grammar in the worker. */
export interface WorkerFailure {
  readonly error: ForetokenError
  /** Whether the grammar would end any instance. */
  readonly traps: boolean
}

/**
 * Milliseconds of the worker up to which a grammar is compiled again where it is used: about a pass
 * of a small model. Copying an instance takes more work in all, but in slices.
 */
const againMs = 10

/** Milliseconds after which a grammar is refused. The limits of the engine keep most below one second. */
const deadlineMs = 3000

export class GuideWorker {
  readonly #worker: SerialWorker<ToGuideWorker, FromGuideWorker>
  readonly #gate = new Gate({
    maxWaiting: 256,
    maxWaitingPerTenant: 64,
    stocks: [new Shares(1)],
    busy: ({ waiting, waitingOfTenant }) =>
      new ForetokenError(
        'busy',
        `${waitingOfTenant} guides of this caller and ${waiting} in all wait to be compiled; try again later`,
      ),
  })
  #beginning: SavedInstance | undefined

  constructor({ module, glue, ...options }: GuideWorkers, spec: TokenizerSpec, vocab: number) {
    this.#worker = new SerialWorker({
      deadlineMs,
      ...options,
      open: () => ({ type: 'open', module, glue, spec, vocab }),
      opened: (message) => {
        if (message.type === 'opened') this.#beginning = message.saved
      },
      late: (ms) =>
        new ForetokenError('bad_argument', `the guide took more than ${ms} ms to compile; make it smaller`, {
          argument: 'guide',
        }),
      died: (reason) =>
        /memory|heap/i.test(reason)
          ? new ForetokenError('bad_argument', 'the guide took more memory than allowed; make it smaller', {
              argument: 'guide',
            })
          : new ForetokenError('worker_lost', `the worker of guides ended: ${reason}; try again`),
    })
  }

  /** Takes the instance without a grammar that came with the worker's start; undefined if it was taken. */
  takeBeginning(): SavedInstance | undefined {
    const beginning = this.#beginning
    this.#beginning = undefined
    return beginning
  }

  /**
   * Compiles a grammar. Resolves with an instance that holds it, with undefined if it may be compiled
   * again, and with a failure. Rejects with `busy`, `aborted`, `bad_argument`, `worker_lost` and
   * NoWorker.
   */
  compile(grammar: Grammar, signal: AbortSignal | undefined): Promise<SavedInstance | WorkerFailure | undefined> {
    const { named, kind, text, compact, tenant } = grammar
    return this.#gate.run({ tenant, signal }, async () => {
      const answer = await this.#worker.run(
        (id) => ({ type: 'compile', id, named, kind, text, compact, againMs: isCheap(grammar) ? Infinity : againMs }),
        signal,
      )
      if (answer.type === 'compiled') return answer.saved
      return { error: new ForetokenError(answer.code, answer.message, { argument: 'guide' }), traps: answer.traps }
    })
  }

  /** Ends the worker, and rejects the guides that wait for it. */
  close(): void {
    this.#gate.close(new ForetokenError('aborted', 'the engine was closed'))
    this.#worker.close()
  }
}
