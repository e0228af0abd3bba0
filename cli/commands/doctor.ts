/** `foretoken doctor`: checks this machine, and says how to fix what it lacks. */
import { type NamedFinding, runChecks } from '../doctor/check.ts'
import { type Host, thisHost } from '../doctor/host.ts'
import { machineChecks } from '../doctor/machine.ts'
import { surroundingsChecks } from '../doctor/surroundings.ts'
import { exitCodes } from '../exit.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { name, print } from '../terminal.ts'

/** Resolves with the exit code: 1 if something is missing that the model needs. */
export async function doctor(
  { flags, operands }: Invocation,
  signal: AbortSignal,
  host: Host = thisHost,
): Promise<number> {
  if (operands.length > 0) throw new UsageError('doctor takes no operands')
  const checks = [...machineChecks(host), ...surroundingsChecks(host, flags)]
  const width = Math.max(...checks.map((check) => check.name.length))
  const findings: NamedFinding[] = []
  for await (const finding of runChecks(checks)) {
    signal.throwIfAborted()
    findings.push(finding)
    if (!flags.json) print(name(line(finding, width)))
  }
  const missing = findings.filter(({ verdict }) => verdict === 'missing').map((finding) => finding.name)
  const ok = missing.length === 0
  if (flags.json) print(JSON.stringify({ ok, checks: findings }))
  else print(ok ? 'The default model can run here.' : `The default model cannot run here; see ${missing.join(', ')}.`)
  return ok ? exitCodes.done.code : exitCodes.failed.code
}

/** Formats a finding, such as `warning  network  the hub cannot be reached · set HTTPS_PROXY` */
function line({ name, verdict, found, next }: NamedFinding, width: number): string {
  const text = next === undefined ? found : `${found} · ${next}`
  return `${verdict.padEnd(8)} ${name.padEnd(width)}  ${text.replaceAll(/\s*\n\s*/g, ' ')}`
}
