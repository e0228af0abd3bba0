/** What an answer may be: its shape, and the tools that the model may call. */
import { useState } from 'preact/hooks'
import type { ToolUse } from '../conversations.ts'
import type { TabEngine } from '../engine.ts'
import { useLater } from './use-later.ts'

interface Props {
  readonly schema: string
  readonly tools: ToolUse
  readonly fault: string | undefined
  /** The engine that can compile the schema, once its model is loaded. */
  readonly engine: TabEngine | undefined
  onSchema(schema: string): void
  onTools(tools: ToolUse): void
  onFault(fault: string | undefined): void
  onQuestion(question: string): void
}

const uses: Readonly<Record<ToolUse, string>> = {
  off: 'none',
  auto: 'calculator and clock',
  required: 'calculator or clock, always',
}

export function AnswerOptions({ schema, tools, fault, engine, ...on }: Props) {
  const [shapeOpen, setShapeOpen] = useState(false)
  const [toolsOpen, setToolsOpen] = useState(false)
  const shape = useLater(() => import('./shape-panel.tsx'), shapeOpen)
  const panel = useLater(() => import('./tools-panel.tsx'), toolsOpen)
  const ShapePanel = shape.part?.ShapePanel
  const ToolsPanel = panel.part?.ToolsPanel
  return (
    <div class="options">
      <details onToggle={(event) => setShapeOpen(event.currentTarget.open)}>
        <summary>
          Shape: <strong>{schema.trim() === '' ? 'any text' : 'JSON schema'}</strong>
          {fault !== undefined && !shapeOpen && <span class="failed"> (it has a fault)</span>}
        </summary>
        {ShapePanel && (
          <ShapePanel
            schema={schema}
            fault={fault}
            engine={engine}
            onSchema={on.onSchema}
            onFault={on.onFault}
            onQuestion={on.onQuestion}
          />
        )}
        {shape.failed && (
          <p class="failed" role="alert">
            {shape.failed}
          </p>
        )}
      </details>
      <details onToggle={(event) => setToolsOpen(event.currentTarget.open)}>
        <summary>
          Tools: <strong>{uses[tools]}</strong>
        </summary>
        {ToolsPanel && <ToolsPanel tools={tools} onTools={on.onTools} />}
        {panel.failed && (
          <p class="failed" role="alert">
            {panel.failed}
          </p>
        )}
      </details>
    </div>
  )
}
