/** Declares the parts of ONNX Runtime that a session uses. */

export interface OrtTensor {
  readonly type: string
  readonly data: unknown
  readonly dims: readonly number[]
  /**
   * Copies the values of a tensor that may lie on a GPU. With `release` the GPU memory is freed.
   */
  getData?(release?: boolean): Promise<unknown>
  dispose?(): void
}

/** Description of an input or output by the runtime. Older runtimes have none. */
interface OrtValue {
  readonly name: string
  readonly isTensor?: boolean
  readonly type?: string
  readonly shape?: readonly (number | string)[]
}

export interface OrtSession {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  readonly inputMetadata?: readonly OrtValue[]
  run(feeds: Readonly<Record<string, OrtTensor>>): Promise<Readonly<Record<string, OrtTensor>>>
  release?(): Promise<void>
}

export interface OrtModule {
  readonly Tensor: new (type: never, data: never, dims: readonly number[]) => OrtTensor
  readonly InferenceSession: {
    create(model: Uint8Array, options?: Readonly<Record<string, unknown>>): Promise<OrtSession>
  }
}
