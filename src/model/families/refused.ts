/** Says why architectures that people ask for are not run, by their names in files. */

const deltaNets =
  'most of its layers are gated delta nets, whose state of a sequence is a matrix per head and not keys and values ' +
  '(docs/decisions/062-gated-delta-nets.md)'
const squared = 'its norms subtract the mean (LayerNorm), and its MLPs have no gate but a squared ReLU'
const mamba = 'most of its layers are state spaces (Mamba 2) and not attention'

const reasons: Readonly<Record<string, string>> = {
  ...{ nemotron: squared, nemotron_h: mamba, nemotron_h_moe: mamba },
  ...{ qwen3_next: deltaNets, qwen3_5: deltaNets, qwen3_5_text: deltaNets, qwen3_5_moe: deltaNets },
  ...{ qwen3_5_moe_text: deltaNets, qwen3next: deltaNets, qwen35: deltaNets, qwen35moe: deltaNets },
}

/** Returns why an architecture is not run, or undefined if that is not known. */
export function refusalOf(name: unknown): string | undefined {
  return typeof name === 'string' && Object.hasOwn(reasons, name) ? reasons[name] : undefined
}
