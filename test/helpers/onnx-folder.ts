/** A model as a folder in the layout of transformers.js's models: ONNX in f32, tokenizer and configuration. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ModelArchive } from '../../src/types.ts'
import { llamaOnnx } from './onnx-writer.ts'

/** Resolves with the bytes of its graph. */
export async function writeOnnxFolder(folder: string, archive: ModelArchive): Promise<number> {
  const { config, tokenizer } = archive
  mkdirSync(join(folder, 'onnx'), { recursive: true })
  const json = (name: string, value: unknown) => writeFileSync(join(folder, name), JSON.stringify(value))
  json('config.json', {
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
  })
  json('generation_config.json', { eos_token_id: tokenizer.eosIds })
  json('tokenizer.json', tokenizer.json)
  json('tokenizer_config.json', { ...tokenizer.config, chat_template: tokenizer.chatTemplate })
  const bytes = await llamaOnnx(archive)
  writeFileSync(join(folder, 'onnx', 'model.onnx'), bytes)
  return bytes.length
}
