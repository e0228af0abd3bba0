/**
 * Implements ONNX Runtime's interface without a model: every step gives the same token, and K and V
 * tensors are counted until they are disposed of.
 */

import type { Engine, OrtModule } from '../../src/index.ts'
import type { OrtTensor } from '../../src/onnx/runtime.ts'

export interface FakeOrt {
  readonly ort: OrtModule
  /** K and V tensors created and not disposed of. */
  readonly live: number
  /** Number of steps so far. */
  readonly steps: number
  /** Called before each step with its number, from 0; may return a promise or throw. */
  onStep: (step: number) => unknown
}

/** Returns a model of the shape of `core` that always gives `token`. */
export function fakeOrt({ archive: { config } }: Engine, token = 7): FakeOrt {
  const { layers, kvHeads, headDim, vocab } = config
  const live = new Set<Tensor>()
  const state = { steps: 0, onStep: (_: number): unknown => undefined }

  class Tensor implements OrtTensor {
    readonly type: string
    readonly data: unknown
    readonly dims: readonly number[]

    constructor(type: string, data: unknown, dims: readonly number[]) {
      this.type = type
      this.data = data
      this.dims = dims
      if (dims.length === 4 && type === 'float32') live.add(this)
    }

    dispose(): void {
      live.delete(this)
    }
  }

  const names = Array.from({ length: layers }, (_, layer) => ['key', 'value'].map((part) => `${layer}.${part}`)).flat()
  const session = {
    inputNames: ['input_ids', 'attention_mask', 'position_ids', ...names.map((name) => `past_key_values.${name}`)],
    outputNames: ['logits', ...names.map((name) => `present.${name}`)],
    inputMetadata: [
      { name: 'past_key_values.0.key', type: 'float32', shape: ['batch', kvHeads, 'past', headDim] },
      { name: 'attention_mask', type: 'bool', shape: ['batch', 1, 'queries', 'keys'] },
    ],
    async run(feeds: Readonly<Record<string, OrtTensor>>) {
      await state.onStep(state.steps++)
      const [rows, n] = feeds.input_ids!.dims as [number, number]
      const past = feeds['past_key_values.0.key']!.dims[2]!
      const logits = new Float32Array(rows * n * vocab)
      for (let row = 0; row < rows * n; row++) logits[row * vocab + token] = 1
      const dims = [rows, kvHeads, past + n, headDim]
      const present = () => new Tensor('float32', new Float32Array(rows * kvHeads * (past + n) * headDim), dims)
      return {
        logits: new Tensor('float32', logits, [rows, n, vocab]),
        ...Object.fromEntries(names.map((name) => [`present.${name}`, present()])),
      }
    },
  }
  return {
    ort: { Tensor, InferenceSession: { create: async () => session } } as unknown as OrtModule,
    get live() {
      return live.size
    },
    get steps() {
      return state.steps
    },
    set onStep(call: FakeOrt['onStep']) {
      state.onStep = call
    },
    get onStep() {
      return state.onStep
    },
  }
}
