/** Names and sizes of the wire format, which wire.ts specifies. */
import type { WireCodec } from '../base/kv-codec.ts'

/** Everything but the tokens that K and V depend on: SHA-256 each, in hex. */
export interface KvIdentity {
  /** The model's name, for messages. */
  readonly name: string
  readonly model: string
  readonly tokenizer: string
  readonly rope: string
  /** Present for an engine with a predictor. */
  readonly predictor?: string
}

/** The shape of the K and V of a token. */
export interface KvShape {
  readonly layers: number
  readonly kvHeads: number
  readonly headDim: number
}

/** The part of a prompt's K and V that a stream holds. */
export interface KvRange {
  readonly codec: WireCodec
  readonly from: number
  readonly to: number
  /** Number of tokens of the prompt that the prediction is made for. */
  readonly promptTokens: number
  readonly firstLayer: number
  readonly tileTokens: number
  readonly tileLayers: number
  readonly mostBytes: number
  readonly table: Uint8Array
}

/** The values that both ends of a stream know. */
export interface WireBinding {
  readonly identity: KvIdentity
  readonly shape: KvShape
  /** The token ids of the prompt, at least up to `to`. */
  readonly ids: readonly number[]
  /** At least 16 bytes. */
  readonly key: Uint8Array
  /** Binds the stream to a request. Default ''. */
  readonly context?: string
}

export const magic = new TextEncoder().encode('FTKVWIRE')

export const version = 1

export const headBytes = 256

export const tileHeadBytes = 24

export const macBytes = 32

export const mostTileBytes = 1 << 22

export const mostTableBytes = 65_280
