/**
 * The KV-prediction paper's measurements on an M2 Pro's CPU: arXiv 2410.08391, TriviaQA with
 * OpenELM 1.1B, prompts of 59 tokens, batch 64.
 */

export interface PaperRow {
  readonly method: string
  /** Operations of the base model alone before the first token, divided by the method's. */
  readonly fewer_flops: number
  readonly ttft_s: number
  /** TTFT of the base model alone, divided by the method's. */
  readonly sooner: number
  /** Exact-match accuracy in per cent; the base model's is 23.57. */
  readonly accuracy: number
}

export const paper: readonly PaperRow[] = [
  { method: 'OpenELM 1.1B', fewer_flops: 1, ttft_s: 5.59, sooner: 1, accuracy: 23.57 },
  { method: 'OpenELM 450M alone', fewer_flops: 2.36, ttft_s: 2.58, sooner: 2.17, accuracy: 10.97 },
  { method: 'OpenELM 270M alone', fewer_flops: 3.98, ttft_s: 1.67, sooner: 3.34, accuracy: 7.04 },
  { method: 'KVP-C 450M', fewer_flops: 2.36, ttft_s: 3.17, sooner: 1.76, accuracy: 16.09 },
  { method: 'KVP-C 270M', fewer_flops: 3.98, ttft_s: 2.24, sooner: 2.5, accuracy: 11.71 },
  { method: 'KVP-LP 0.75', fewer_flops: 1.34, ttft_s: 4.63, sooner: 1.21, accuracy: 20.73 },
  { method: 'KVP-LP 0.50', fewer_flops: 1.93, ttft_s: 3.33, sooner: 1.68, accuracy: 17.59 },
  { method: 'KVP-LP 0.25', fewer_flops: 3.6, ttft_s: 2.05, sooner: 2.73, accuracy: 10.38 },
]
