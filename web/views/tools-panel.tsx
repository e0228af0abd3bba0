/** The choice of tools; loaded when it is first opened. */
import { playgroundTools } from '../../playground/tools.ts'
import type { ToolUse } from '../conversations.ts'
import { Tabs } from './tabs.tsx'

const choices: readonly { value: ToolUse; text: string }[] = [
  { value: 'off', text: 'None' },
  { value: 'auto', text: 'May call' },
  { value: 'required', text: 'Must call' },
]

export function ToolsPanel({ tools, onTools }: { readonly tools: ToolUse; onTools(tools: ToolUse): void }) {
  return (
    <div class="tools">
      <Tabs label="When tools are called" value={tools} options={choices} onChange={onTools} />
      <dl class="facts">
        {playgroundTools.map(({ name, description }) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{description}</dd>
          </div>
        ))}
      </dl>
      <p class="notes">
        Both run in this tab, and neither sends anything anywhere. Small models seldom call by themselves: “Must call”
        makes each answer begin with a call.
      </p>
    </div>
  )
}
