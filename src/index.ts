/** foretoken: LLM inference whose first concern is time to first token. Platform-neutral; see `foretoken/node` for Node. */
export { type AnyAnswer, type AnyEngine, isAnyEngine } from './any-engine.ts'
export type { Backend, MemoryBalance } from './backend/backend.ts'
export type { OrtModule } from './backend/ort.ts'
export type { Build, WasmModules } from './backend/select.ts'
export type { ComputeWorker, Spawn, WorkerTask } from './backend/threads.ts'
export type { AttentionForm } from './backend/wasm.ts'
export type { SamplingOptions } from './decode/sampling.ts'
export type { SchedulerOptions, SchedulerStats } from './decode/scheduler.ts'
export { nextSeed, parseJson, type Seed, seedIn, seedOf } from './decode/seed.ts'
export { Engine } from './engine.ts'
export { asForetokenError, type ErrorCode, errorCodes, ForetokenError } from './errors.ts'
export { type PredictedKv, type Received, type ReceiveOptions, receiveKv } from './kv/receive.ts'
export type { KvIdentity } from './kv/wire.ts'
export type { ExpectedKv, ExpectOptions, KvBodyOptions } from './kv-receiver.ts'
export type { KvOptions, KvTimings } from './kv-sender.ts'
export { Lifetime } from './lifetime.ts'
export type { ManyOptions, Outcome } from './many.ts'
export { type OpenOptions, openModel } from './model/open.ts'
export { readPredictorHeader } from './model/predictor-file.ts'
export { memorySource } from './model/source.ts'
export type { EngineOptions, GenerateOptions, GenerateRequest } from './options.ts'
export { OrtEngine, type OrtEngineOptions } from './ort-engine.ts'
export type { OrtSubmission } from './ort-submission.ts'
export { WaitBudget } from './prefill/patience.ts'
export {
  type CompanionAddress,
  type CompanionStatus,
  type Fetch,
  type Patience,
  RemoteCompanion,
} from './prefill/remote.ts'
export { LineSeal } from './prefill/seal.ts'
export {
  isBodyOf,
  isSignedBy,
  keyBytes,
  Nonces,
  parseSigned,
  type Signed,
  type SignedRequest,
  sign,
  signatureVersion,
  signedVersion,
} from './prefill/signature.ts'
export { type Companion, type Companions, StaticCompanions } from './route/companions.ts'
export type { Way } from './route/costs.ts'
export { Router } from './route/router.ts'
export { Routed, type RoutedOptions } from './routed.ts'
export type { Deciding, RoutedAnswer, RouteReport } from './routed-answer.ts'
export type { LoadedPrefix } from './saved-prefix.ts'
export type { DoneEvent, GenerateEvent, PromptEvent, ScoredToken, TokenEvent } from './stream/events.ts'
export { Submission } from './submission.ts'
export type { PromptOptions } from './tokens/prompt.ts'
export type { PrepareOptions } from './tokens/prompts.ts'
export type { FromTextWorker, SpawnText, TextWorker, ToTextWorker } from './tokens/text-messages.ts'
export type { Timings } from './trace.ts'
export type * from './types.ts'
export { pageTokens, wireCodecs } from './types.ts'
