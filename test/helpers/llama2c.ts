/** Converts a model in llama2.c's first format to the files of a Hugging Face folder, in memory. */

import type { ModelFiles } from '../../src/base/bytes.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { safetensors } from './safetensors-writer.ts'

/**
 * Converts a model and its tokenizer.
 *
 * `model` holds seven int32 (dim, ffn, layers, heads, KV heads, vocabulary, context), then float32
 * matrices, each kind for all layers at once. Its RoPE rotates adjacent pairs, so rows of wq and wk
 * are reordered to halves. `tokenizer` holds an int32, then for each piece a float32 score, an
 * int32 length and the bytes.
 */
export function llama2cFiles(model: Uint8Array, tokenizer: Uint8Array): ModelFiles {
  const header = new Int32Array(Uint8Array.from(model.subarray(0, 28)).buffer)
  const [dim, ffn, layers, heads, kvHeads, signedVocab, context] = header as unknown as number[]
  const vocab = Math.abs(signedVocab!)
  const headDim = dim! / heads!
  const kv = kvHeads! * headDim
  const floats = new Float32Array(Uint8Array.from(model.subarray(28)).buffer)
  const tensors = new Map<string, { shape: number[]; data: Float32Array }>()
  let at = 0
  const take = (size: number) => floats.subarray(at, (at += size))
  const each = (name: string, rows: number | undefined, cols: number, swap = false) => {
    for (let layer = 0; layer < layers!; layer++) {
      const data = take((rows ?? 1) * cols)
      tensors.set(`model.layers.${layer}.${name}.weight`, {
        shape: rows ? [rows, cols] : [cols],
        data: swap ? halves(data, headDim, cols) : data,
      })
    }
  }
  tensors.set('model.embed_tokens.weight', { shape: [vocab, dim!], data: take(vocab * dim!) })
  each('input_layernorm', undefined, dim!)
  each('self_attn.q_proj', dim!, dim!, true)
  each('self_attn.k_proj', kv, dim!, true)
  each('self_attn.v_proj', kv, dim!)
  each('self_attn.o_proj', dim!, dim!)
  each('post_attention_layernorm', undefined, dim!)
  each('mlp.gate_proj', ffn!, dim!)
  each('mlp.down_proj', dim!, ffn!)
  each('mlp.up_proj', ffn!, dim!)
  tensors.set('model.norm.weight', { shape: [dim!], data: take(dim!) })
  const config = {
    model_type: 'llama',
    num_hidden_layers: layers,
    hidden_size: dim,
    intermediate_size: ffn,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    vocab_size: vocab,
    max_position_embeddings: context,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: signedVocab! > 0,
    bos_token_id: 1,
    eos_token_id: 2,
  }
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))
  return memoryFiles('llama2c', {
    'config.json': json(config),
    'model.safetensors': safetensors(tensors),
    'tokenizer.json': json(tokenizerJson(pieces(tokenizer, vocab))),
    'tokenizer_config.json': json({ bos_token: '<s>', eos_token: '</s>', add_bos_token: true }),
  })
}

/** Moves rows (2i, 2i + 1) of each head to (i, i + headDim / 2). */
function halves(data: Float32Array, headDim: number, cols: number): Float32Array {
  const out = new Float32Array(data.length)
  for (let row = 0; row < data.length / cols; row++) {
    const inHead = row % headDim
    const to = row - inHead + (inHead % 2) * (headDim / 2) + (inHead >> 1)
    out.set(data.subarray(row * cols, (row + 1) * cols), to * cols)
  }
  return out
}

function pieces(file: Uint8Array, vocab: number): { text: string; score: number }[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const out: { text: string; score: number }[] = []
  for (let at = 4; out.length < vocab; ) {
    const length = view.getInt32(at + 4, true)
    const text = new TextDecoder().decode(file.subarray(at + 8, at + 8 + length))
    out.push({ text, score: view.getFloat32(at, true) })
    at += 8 + length
  }
  return out
}

/**
 * Encodes by SentencePiece BPE: pieces merge in the order of their scores; text without a piece
 * becomes its bytes.
 */
function tokenizerJson(list: { text: string; score: number }[]) {
  const names = list.map(({ text }, id) => (id < 3 ? ['<unk>', '<s>', '</s>'][id]! : text.replaceAll(' ', '▁')))
  const ids = new Map(names.map((name, id) => [name, id]))
  const merges: [string, string][] = []
  const order = names.map((_, id) => id).sort((a, b) => list[b]!.score - list[a]!.score || a - b)
  for (const id of order) {
    const name = names[id]!
    if (id < 259 || name.length < 2) continue
    for (let cut = 1; cut < name.length; cut++)
      if (ids.has(name.slice(0, cut)) && ids.has(name.slice(cut))) merges.push([name.slice(0, cut), name.slice(cut)])
  }
  return {
    version: '1.0',
    added_tokens: names.slice(0, 3).map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(ids),
      merges,
    },
  }
}
