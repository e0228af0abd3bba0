/** Makes a model in the layout of transformers.js: ONNX in f32, tokenizer and configuration. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ModelArchive } from '../../src/base/model.ts'
import { tokenizerJsonOf } from '../../src/model/tokenizer-json.ts'
import { llamaOnnx } from './onnx-writer.ts'

const graph = 'onnx/model.onnx'

/** Returns the files by name. */
export async function onnxFiles(archive: ModelArchive): Promise<Record<string, Uint8Array>> {
  const { config, tokenizer } = archive
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))
  return {
    'config.json': json({
      model_type: 'llama',
      architectures: ['LlamaForCausalLM'],
      vocab_size: config.vocab,
      hidden_size: config.hidden,
      num_hidden_layers: config.layers,
      num_attention_heads: config.heads,
      num_key_value_heads: config.kvHeads,
      head_dim: config.headDim,
      max_position_embeddings: config.maxContext,
      eos_token_id: tokenizer.eosIds[0],
    }),
    'generation_config.json': json({ eos_token_id: tokenizer.eosIds }),
    'tokenizer.json': json(tokenizerJsonOf(tokenizer)),
    'tokenizer_config.json': json({ ...tokenizer.config, chat_template: tokenizer.chatTemplate }),
    [graph]: await llamaOnnx(archive),
  }
}

/** Writes the files; resolves with the bytes of the graph. */
export async function writeOnnxFolder(folder: string, archive: ModelArchive): Promise<number> {
  const files = await onnxFiles(archive)
  mkdirSync(join(folder, 'onnx'), { recursive: true })
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes)
  return files[graph]!.length
}
