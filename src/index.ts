/** foretoken: LLM inference whose first concern is time to first token. Platform-neutral; see `foretoken/node` for Node. */

export type { Backend, MemoryBalance } from './backend/backend.ts'
export type { AttentionForm } from './backend/wasm/backend.ts'
export type { Build, WasmModules } from './backend/wasm/select.ts'
export type { ComputeWorker, Spawn, WorkerTask } from './backend/wasm/threads.ts'
export { at, defined } from './base/at.ts'
export type { ByteSource, ModelFiles } from './base/bytes.ts'
export { Callback, callAside } from './base/callback.ts'
export { millisecondsOf } from './base/duration.ts'
export { asForetokenError, type ErrorCode, errorCodes, ForetokenError } from './base/errors.ts'
export { Gate, type GateOptions, type GateRequest, type Refusal } from './base/gate.ts'
export type { Guide, JsonSchema } from './base/guide.ts'
export { equalBytes, fromHex, sha256Hex, toHex } from './base/hash.ts'
export type { KvPool, KvShape, KvType, LayerLayout, PageLayout } from './base/kv.ts'
export { pageLayout, pageTokens } from './base/kv.ts'
export type { KvBlock, KvCodec, KvCoding, WireCodec } from './base/kv-codec.ts'
export { wireCodecs } from './base/kv-codec.ts'
export { Lifetime } from './base/lifetime.ts'
export type {
  Activation,
  AttentionSpec,
  ConvolutionSpec,
  EmbeddingSpec,
  LayerShape,
  LayerSpec,
  ModelArchive,
  ModelConfig,
  ModelSpec,
  PackedTexts,
  PackedVocabulary,
  Pooling,
  RopeSpec,
  TensorInfo,
  TensorType,
  TokenizerSpec,
} from './base/model.ts'
export { nearest, nearestOf } from './base/nearest.ts'
export { nextTurn } from './base/next-turn.ts'
export { isWhole } from './base/numbers.ts'
export type { Pass, Segment, SequenceStates } from './base/pass.ts'
export type {
  ChatMessage,
  Message,
  PreparedPrompt,
  PromptChunk,
  PromptInput,
  PromptTimes,
  TextPart,
  TokenRange,
} from './base/prompt.ts'
export { sha256Sync } from './base/sha256.ts'
export { Shares, type Sharing } from './base/shares.ts'
export { after, within } from './base/timeout.ts'
export type { ToolCall, ToolDefinition } from './base/tool.ts'
export type { Timings } from './base/trace.ts'
export type { GuideMatcher, GuideModel, Guides, OpenGuides } from './decode/guide.ts'
export type { SamplingOptions } from './decode/sampling-options.ts'
export type { SchedulerOptions, SchedulerStats } from './decode/scheduler.ts'
export { nextSeed, parseJson, type Seed, seedIn, seedOf } from './decode/seed.ts'
export type { Embeddings, EmbedInput, EmbedOptions } from './engine/embed.ts'
export { Engine } from './engine/engine.ts'
export type { PrepareOptions } from './engine/guides.ts'
export { ModelPool } from './engine/model-pool.ts'
export type { EngineOptions, GenerateOptions, GenerateRequest, ManyOptions } from './engine/options.ts'
export type { ModelLease, ModelPoolOptions, UseOptions } from './engine/pool-options.ts'
export type { GivenModel, Loading, ModelState, ModelStatus, PooledModel } from './engine/pool-slot.ts'
export type { Ranking, RerankOptions } from './engine/rerank.ts'
export type { LoadedPrefix } from './engine/saved-prefix.ts'
export {
  type Answer,
  type AnyAnswer,
  type AnyEngine,
  isAnyEngine,
  type Outcome,
  type RouteReport,
  type TextService,
  type Way,
} from './engine/service.ts'
export { Submission } from './engine/submission.ts'
export type { GuideWorkers } from './guide/guide-worker.ts'
export { openGuides } from './guide/guides.ts'
export type { GuideInstance } from './guide/instance.ts'
export { guideNameOf, guideNames, guideOf, type NamedGuides } from './guide/named.ts'
export { jsonGuide, type SchemaWithType, type TypedGuide } from './guide/typed.ts'
export type { FromGuideWorker, SpawnGuides, ToGuideWorker } from './guide/worker-messages.ts'
export { specOf } from './model/families/index.ts'
export { activationBytes, type BufferSizes } from './model/layer.ts'
export { type OpenOptions, openModel } from './model/open.ts'
export { memorySource } from './model/source.ts'
export { OrtEngine, type OrtSubmission } from './onnx/engine.ts'
export type { OrtEngineOptions } from './onnx/options.ts'
export type { OrtModule } from './onnx/runtime.ts'
export { readPredictorHeader } from './predict/file.ts'
export { type Companion, type Companions, StaticCompanions } from './route/companions.ts'
export type { Deciding, RoutedAnswer } from './route/request.ts'
export { Router } from './route/router.ts'
export { Routed, type RoutedOptions } from './route/service.ts'
export type {
  CorrectionEvent,
  DoneEvent,
  GenerateEvent,
  PromptEvent,
  ScoredToken,
  TokenEvent,
} from './stream/events.ts'
export {
  type AnswerPlan,
  type AnswerWishes,
  effortValues,
  type PlannedModel,
  planAnswer,
  type ToolChoice,
} from './tokens/answer-plan.ts'
export type { PromptOptions } from './tokens/prompt.ts'
export type { FromTextWorker, SpawnText, TextWorker, ToTextWorker } from './tokens/text-messages.ts'
export { type ToolFormatName, toolFormatNames } from './tools/format.ts'
export type { CallEvent } from './tools/parser.ts'
export { type AnswerPart, AnswerReader } from './tools/reader.ts'
export type { ExpectedKv, ExpectOptions, KvBodyOptions } from './transfer/expected-kv.ts'
export type { KvIdentity } from './transfer/format.ts'
export { Nonces } from './transfer/nonces.ts'
export { type PredictedKv, type Received, type ReceiveOptions, receiveKv } from './transfer/receive-kv.ts'
export {
  type CompanionAddress,
  type CompanionStatus,
  type Fetch,
  type Patience,
  RemoteCompanion,
} from './transfer/remote.ts'
export { LineSeal } from './transfer/seal.ts'
export type { KvOptions, KvTimings } from './transfer/sender.ts'
export {
  isBodyOf,
  isSignedBy,
  keyBytes,
  parseSigned,
  type Signed,
  type SignedRequest,
  sign,
  signatureVersion,
  signedVersion,
} from './transfer/signature.ts'
export { WaitBudget } from './transfer/wait-budget.ts'
